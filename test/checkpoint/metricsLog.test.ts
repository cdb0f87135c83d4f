import { appendFile, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { MetricsLog } from '#src/checkpoint/metricsLog.js';
import { CheckpointError } from '#src/errors.js';
import { temporaryFolder } from './samples.js';

const line = (step: number) => `{"step":${step},"loss":${1 / (step + 1)}}\n`;
const lines = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => line(from + i)).join('');

async function write(path: string, after: number, from: number, to: number): Promise<void> {
  const log = await MetricsLog.open(path, after);
  for (let step = from; step <= to; step++) log.append({ step, loss: 1 / (step + 1) });
  await log.close();
}

test('a resumed log is the same as one never stopped', async (t) => {
  const folder = await temporaryFolder(t);
  const straight = join(folder, 'straight.jsonl');
  await write(straight, -1, 1, 50_000); // more than one piece of a megabyte
  const text = await readFile(straight, 'utf8');
  t.is(text, lines(1, 50_000));
  const path = join(folder, 'metrics.jsonl');
  for (const [kept, torn] of [
    [20_000, 30_000],
    [49_999, 50_000],
    [0, 1],
    [1, 1],
  ]) {
    await write(path, -1, 1, torn);
    await appendFile(path, '{"step":');
    await write(path, kept, kept + 1, 50_000);
    t.is(await readFile(path, 'utf8'), text);
  }
});

test('a last line torn at any byte is cut off', async (t) => {
  const path = join(await temporaryFolder(t), 'metrics.jsonl');
  const text = lines(1, 3);
  for (let length = 0; length <= text.length; length++) {
    await writeFile(path, text);
    await truncate(path, length);
    const log = await MetricsLog.open(path, 3);
    const whole = text.slice(0, length).split('\n').length - 1;
    t.is(log.lastStep, whole || -1);
    await log.close();
    t.is(await readFile(path, 'utf8'), lines(1, whole));
  }
});

test('lines reach the disk at a flush, and a line that is no record ends the log', async (t) => {
  const path = join(await temporaryFolder(t), 'metrics.jsonl');
  const log = await MetricsLog.open(path, -1);
  log.append({ step: 1, loss: Number.NaN });
  t.is(await readFile(path, 'utf8'), '');
  await log.flush();
  t.is(await readFile(path, 'utf8'), '{"step":1,"loss":null}\n');
  t.throws(() => log.append({ step: 0 }), { instanceOf: CheckpointError });
  await log.close();
  for (const strange of [
    'null\n',
    '{"step":"2"}\n',
    '\0\0\0\n',
    '{"step":0}\n',
    `${'x'.repeat(3 * 2 ** 20)}`,
  ]) {
    await writeFile(path, `${line(1)}${strange}${line(2)}`);
    await (await MetricsLog.open(path, 9)).close();
    t.is(await readFile(path, 'utf8'), line(1));
  }
  await write(path, -1, 5, 5);
  t.is(await readFile(path, 'utf8'), line(5));
  await t.throwsAsync(MetricsLog.open(join(path, 'x'), 0), {
    instanceOf: CheckpointError,
    message: /cannot open/,
  });
});
