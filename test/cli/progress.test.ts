import test from 'ava';
import { Progress } from '#src/cli/progress.js';

/** What a run of 10 steps a second writes. */
function record(
  stream: { isTTY?: boolean; columns?: number },
  environment: Record<string, string>,
  steps: number,
) {
  const written: string[] = [];
  let milliseconds = 0;
  const progress = new Progress(
    { ...stream, write: (text: string) => written.push(text) },
    { maxSteps: 2000, now: () => milliseconds, environment },
  );
  for (let step = 1; step <= steps; step++) {
    milliseconds += 100;
    progress.update({ step, loss: 4 / step, tokensPerSecond: 7680.4 });
    if (step === 300) progress.print('table');
  }
  progress.finish();
  return written;
}

test('rewrites one line on a terminal', (t) => {
  const written = record({ isTTY: true, columns: 100 }, { NO_COLOR: '1' }, 500);
  t.is(written[0], '\r\x1b[K----------------  step 1/2,000  loss 4.0000  7,680 tokens/s  3:20 left');
  t.is(written[499], '\r\x1b[K####------------  step 499/2,000  loss 0.0080  7,680 tokens/s  2:30 left');
  t.true(written[300].startsWith('\r\x1b[Ktable\n##--------------  step 300/'));
  t.is(written.at(-1), '\n');
  t.true(written.slice(0, -1).every((text) => !text.endsWith('\n')));
});

test('colours the bar unless NO_COLOR is set', (t) => {
  const [first] = record({ isTTY: true, columns: 100 }, {}, 1);
  t.true(first.includes('\x1b[36m'));
  t.is(
    first.replaceAll('\x1b[36m', '').replaceAll('\x1b[2m', '').replaceAll('\x1b[0m', ''),
    record({ isTTY: true, columns: 100 }, { NO_COLOR: '1' }, 1)[0],
  );
});

test('never wraps', (t) => {
  for (let columns = 1; columns <= 90; columns++) {
    for (const text of record({ isTTY: true, columns }, { NO_COLOR: '1' }, 299)) {
      t.true(
        text.replace('\r\x1b[K', '').length < Math.max(columns, 2),
        `${columns} columns: ${JSON.stringify(text)}`,
      );
    }
  }
});

test('writes a plain line every five seconds into a pipe, and the last one', (t) => {
  for (const [stream, environment] of [
    [{}, {}],
    [{ isTTY: true, columns: 80 }, { TERM: 'dumb' }],
  ] as const) {
    const written = record(stream, environment, 222);
    t.deepEqual(written, [
      'step 1/2,000  loss 4.0000  7,680 tokens/s  3:20 left\n',
      'step 51/2,000  loss 0.0784  7,680 tokens/s  3:15 left\n',
      'step 101/2,000  loss 0.0396  7,680 tokens/s  3:10 left\n',
      'step 151/2,000  loss 0.0265  7,680 tokens/s  3:05 left\n',
      'step 201/2,000  loss 0.0199  7,680 tokens/s  3:00 left\n',
      'step 222/2,000  loss 0.0180  7,680 tokens/s  2:58 left\n',
    ]);
  }
});

test('counts the time left from the step a run was resumed at', (t) => {
  const written: string[] = [];
  let milliseconds = 0;
  const progress = new Progress(
    { write: (text) => written.push(text) },
    { maxSteps: 2000, firstStep: 1000, now: () => milliseconds, environment: {} },
  );
  milliseconds = 60_000;
  progress.update({ step: 1100, loss: 1, tokensPerSecond: 1 });
  t.regex(written[0], / 9:00 left/);
});
