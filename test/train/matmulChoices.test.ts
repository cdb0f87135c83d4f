import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { latestCheckpoint } from '#src/checkpoint/checkpoint.js';
import { changedMatmulChoices } from '#src/train/matmulChoices.js';
import { RunState } from '#src/train/runState.js';
import { temporaryFolder } from './tiny.js';

const [first, second] = ['bf16 1x16x8x24 a 8,1', 'f32 1x8x8x8 a 8,1@0'];
const before = `${first}\tcublasLt 13.0.2 fused 01\t0.1 ms\n${second}\town\t0.2 ms\n`;

test('choices that are made again are no change, whatever they took', (t) => {
  t.is(changedMatmulChoices('', before), undefined);
  t.is(changedMatmulChoices(before, before.replace('0.1 ms', 'as before')), undefined);
});

test('our own kernels stand for a choice that nobody made', (t) => {
  t.is(changedMatmulChoices(`${second}\town\t0.2 ms\n`, ''), undefined);
});

test('another choice is named with the one before it', (t) => {
  const message = changedMatmulChoices(before, '');
  t.regex(message!, /^a matrix product is computed in another way/);
  t.true(message!.endsWith(`${first} by own in place of cublasLt 13.0.2 fused 01`));
  const tile = before.replaceAll('\town\t', '\town tile 1\t').replace('fused', 'finished');
  t.regex(changedMatmulChoices(before, tile)!, /^2 matrix products are/);
});

// On the emulator, with test/native/simt/fakeCublas.cc as the library: its two algorithms differ in the last bits, and `how`
// makes one of them the slower. Choices are made once in a process, so each run has its own.
const library = process.env.HEDDLE_TEST_CUBLAS;
const program = fileURLToPath(new URL('./trainOnce.js', import.meta.url));
const steps = 8;

function train(folder: string, how: string, resume = false, file = library) {
  const env = { ...process.env, HEDDLE_CUBLAS: file, FAKE_CUBLAS: how };
  const args = [program, folder, String(steps), ...(resume ? ['resume'] : [])];
  return JSON.parse(execFileSync(process.execPath, args, { env, encoding: 'utf8' })) as string[];
}

/** What the latest checkpoint of a run says of its products, and the losses until there. */
async function stateOf(folder: string) {
  const checkpoint = await latestCheckpoint(folder);
  const { matmulChoices } = await RunState.positionOf(checkpoint!);
  const choices = matmulChoices!.trimEnd().split('\n');
  return {
    algorithms: new Set(choices.map((line) => /\tcublasLt \S+ \S+ 0{15}(.)/.exec(line)?.[1])),
    remarks: new Set(choices.map((line) => line.split('\t')[2])),
    versions: new Set(choices.map((line) => /\tcublasLt (\S+)/.exec(line)?.[1])),
    metrics: readFileSync(join(folder, 'metrics.jsonl'), 'utf8'),
    weights: readFileSync(join(checkpoint!.folder, 'model.safetensors')),
  };
}

if (library) {
  test('a resumed run computes matrix products as they were computed before, and goes on to the bit', async (t) => {
    const folder = temporaryFolder(t);
    const [run, other, resumed] = ['run', 'other', 'resumed'].map((name) => join(folder, name));
    t.deepEqual(train(run, 'slow-first'), []);
    const whole = await stateOf(run);
    t.true(whole.algorithms.has('2') && !whole.algorithms.has('1'));

    // A run that chooses for itself takes the other algorithm, and comes to other weights.
    train(other, 'slow-second');
    const chosenAnew = await stateOf(other);
    t.true(chosenAnew.algorithms.has('1') && !chosenAnew.algorithms.has('2'));
    t.notDeepEqual(chosenAnew.weights, whole.weights);

    // From the checkpoint in the middle, where timing would choose the other.
    cpSync(run, resumed, { recursive: true });
    rmSync(join(resumed, 'checkpoints', 'step-000008'), { recursive: true });
    t.deepEqual(train(resumed, 'slow-second', true), []);
    const goneOn = await stateOf(resumed);
    t.deepEqual(goneOn.algorithms, whole.algorithms);
    t.deepEqual(goneOn.remarks, new Set(['as before']));
    t.is(goneOn.metrics, whole.metrics);
    t.deepEqual(goneOn.weights, whole.weights);

    // Another version of the library, or none: chosen again, and said.
    rmSync(join(resumed, 'checkpoints', 'step-000008'), { recursive: true });
    const newer = train(resumed, 'newer', true);
    t.regex(
      newer.join('\n'),
      /computed in another way than before.* by cublasLt 13\.1\.0 .* in place of cublasLt 13\.0\.2/,
    );
    t.false((await stateOf(resumed)).versions.has('13.0.2'));
    rmSync(join(resumed, 'checkpoints', 'step-000008'), { recursive: true });
    t.regex(
      train(resumed, '', true, '0').join('\n'),
      /computed in another way than before.* by own in place of cublasLt 13\.0\.2/,
    );
  });
}
