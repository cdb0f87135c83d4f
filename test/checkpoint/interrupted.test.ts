import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { saveBest, saveCheckpoint } from '#src/checkpoint/checkpoint.js';
import { filesAt, loadedStep, temporaryFolder } from './samples.js';

const program = fileURLToPath(new URL('./saveForever.js', import.meta.url));

test('kill -9 at random moments of saving leaves a checkpoint no older than the last one reported', async (t) => {
  t.timeout(120_000);
  const run = await temporaryFolder(t);
  const count = 20_000;
  await saveCheckpoint(run, 0, filesAt(0, count));
  await saveBest(run, 0, filesAt(0, count));
  let left = 0;
  for (let round = 0, last = 0; round < 20; round++) {
    const child = spawn(process.execPath, [program, run, String(last + 1), String(count)]);
    let output = '';
    child.stdout.on('data', (text) => {
      output += text;
    });
    await once(child.stdout, 'data');
    await delay((round * 37) % 100);
    child.kill('SIGKILL');
    await once(child, 'close');
    const reported = Number(output.trim().split('\n').at(-1));
    if (
      (await readdir(join(run, 'checkpoints')))
        .concat(await readdir(run))
        .some((name) => name.startsWith('.'))
    )
      left++;
    const latest = await loadedStep(run, count);
    const best = await loadedStep(join(run, 'best'), count);
    t.true(latest! >= reported && latest! <= reported + 1, `reported ${reported}, loaded ${latest}`);
    t.true(best! >= reported && best! <= latest!, `reported ${reported}, best ${best}`);
    last = latest!;
  }
  t.log(`${left} of 20 kills came in the middle of a save`);
  t.true(left > 0);
});

test('a file system that refuses bytes beyond a limit leaves the checkpoint before', async (t) => {
  t.timeout(60_000);
  const run = await temporaryFolder(t);
  const count = 20_000; // 78 KiB of weights
  await saveCheckpoint(run, 0, filesAt(0, count));
  for (const kibibytes of [0, 1, 7, 16, 33, 64, 77]) {
    const command = `ulimit -f ${kibibytes}; "$@" | cat`; // in a pipe, which the limit does not concern
    const child = spawn('bash', ['-c', command, 'bash', process.execPath, program, run, '1', String(count)]);
    let output = '';
    child.stdout.on('data', (text) => {
      output += text;
    });
    await once(child, 'close');
    t.regex(
      output,
      /^CheckpointError: cannot (save|write) .*step-000001.*: the file would be larger than the system allows/,
    );
    t.is(await loadedStep(run, count), 0);
    t.deepEqual(await readdir(join(run, 'checkpoints')), ['step-000000']);
  }
});
