// The tests of kernels, models, sessions and training on the device: what they compare with is float64 in JavaScript, results
// of PyTorch, and bits of earlier runs.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type Stage, type StageContext, verdict } from './stage.js';
import { type FailedTest, TapCount } from './tap.js';

const tests = 'dist-test/test';
const ava = 'node_modules/ava/entrypoints/cli.mjs';
/** Failed tests that are tried again alone. */
const mostAlone = 40;
/** AVA's separator of the parts of a name: folder, file, title. */
const separator = ' › ';

function testFiles(quick: boolean): string[] {
  if (quick) return [`${tests}/runtime/session.test.js`, `${tests}/ops/kernels.test.js`];
  const models = readdirSync(`${tests}/models`).filter((name) => name.endsWith('.test.js'));
  return [
    `${tests}/ops/kernels.test.js`,
    ...models.map((name) => `${tests}/models/${name}`),
    `${tests}/runtime/session.test.js`,
    `${tests}/train/trainer.test.js`,
  ];
}

/** Runs AVA in processes, not threads: a GPU's context that one file spoils is not the next one's. */
async function runAva(
  files: readonly string[],
  device: StageContext['device'],
  options: readonly string[],
  onLine: (line: string) => void,
): Promise<number | null> {
  const args = [ava, '--tap', '--no-worker-threads', ...options, ...files];
  const env = { ...process.env, HEDDLE_TEST_DEVICE: device, NODE_NO_WARNINGS: '1' };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((done) => child.once('close', done));
  for await (const line of createInterface({ input: child.stdout })) {
    console.log(line);
    onLine(line);
  }
  return ended;
}

/** Whether a test fails in a process of its own too, or only after one that spoilt the GPU's context. */
async function failsAlone({ name }: FailedTest, device: StageContext['device']): Promise<boolean> {
  const parts = name.split(separator);
  const title = parts.pop()!;
  const file = `${tests}/${parts.join('/')}.test.js`;
  const count = new TapCount();
  const escaped = title.replace(/[\\*!]/g, '\\$&');
  await runAva([file], device, [`--match=${escaped}`], (line) => count.line(line));
  return count.passed === 0;
}

export const conformance: Stage = async ({ device, quick, record, secondsLeft }) => {
  const count = new TapCount();
  const summary = () => record({ passed: count.passed, skipped: count.skipped, failed: count.failed });
  // One test at a time on a GPU: the first that goes wrong is then the first to be reported.
  const serial = device === 'cpu' ? [] : ['--serial'];
  const chosen = quick ? ['--match=kernels of *norm*', '--match=*thread*', '--match=*memory*'] : [];
  let last = 0;
  const code = await runAva(testFiles(quick), device, [...serial, ...chosen], (line) => {
    count.line(line);
    if (performance.now() - last < 1000) return;
    last = performance.now();
    summary();
  });
  summary();
  const failAlone: string[] = [];
  const passAlone: string[] = [];
  // Where nothing passes, the device is not there at all.
  for (const failed of count.passed > 0 ? count.failed.slice(0, mostAlone) : []) {
    if (secondsLeft() < 30 || !failed.name.includes(separator)) continue;
    ((await failsAlone(failed, device)) ? failAlone : passAlone).push(failed.name);
    record({ failAlone, passAlone });
  }
  console.log(`${count.passed} passed, ${count.failed.length} failed, ${count.skipped} skipped`);
  record({ exitCode: code });
  return verdict(code === 0 && count.failed.length === 0 && count.passed > 0);
};
