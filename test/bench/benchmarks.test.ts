import test from 'ava';
import { benchAttention } from '../../bench/attention.js';
import { benchGenerate } from '../../bench/generate.js';
import { benchOverhead } from '../../bench/overhead.js';
import { benchScaling } from '../../bench/scaling.js';
import { trainingCases } from '../../bench/trainingCase.js';
import { trainingMemory } from '../../bench/trainingMemory.js';

const rising = ({ min, median, max }: { min: number; median: number; max: number }) =>
  min > 0 && min <= median && median <= max;

test('attention is timed forward and backward, and takes no matrix of scores', async (t) => {
  const { cases } = await benchAttention({ cases: ['256', '512'], peers: [], threads: 1, rounds: 1 });
  t.deepEqual(
    cases.map(({ length }) => length),
    [256, 512],
  );
  for (const { ours, peers } of cases)
    t.true(rising(ours.forward) && rising(ours.backward) && !('torch' in peers));
  const [half, whole] = cases.map(({ memoryBytes }) => memoryBytes);
  t.is(whole, 2 * half);
});

test('generation is held against the time that reading its weights takes', async (t) => {
  const { cases } = await benchGenerate({ cases: ['tiny'], threads: 1, rounds: 1 });
  t.deepEqual(
    cases.map(({ precision, weightBytes }) => [precision, weightBytes]),
    [
      ['float32', 4 * (65 * 64 + 2 * 12 * 64 * 64)],
      ['bf16', 2 * (65 * 64 + 2 * 12 * 64 * 64)],
    ],
  );
  for (const { ours } of cases) t.true(rising(ours));
});

test("the host's part of a step is measured on one thread and on all", async (t) => {
  const { cases } = await benchOverhead({ threads: 2, steps: 100, rounds: 2 });
  t.deepEqual(
    cases.map(({ name, steps }) => [name, steps]),
    [
      ['1 thread', 100],
      ['2 threads', 100],
    ],
  );
  for (const { kernels } of cases) t.true(rising(kernels));
});

test('steps are measured on growing numbers of threads', async (t) => {
  const { cases } = await benchScaling({ cases: ['tiny'], precisions: ['float32'], threads: 2, rounds: 1 });
  t.deepEqual(
    cases.map(({ name, threads, tokens }) => [name, threads, tokens]),
    [
      ['tiny', 1, 256],
      ['tiny', 2, 256],
    ],
  );
  for (const { ours, tokensPerSecond } of cases) t.is(tokensPerSecond, 256 / ours.median);
});

test('peak memory is that of a process of its own', async (t) => {
  const tiny = trainingCases.find(({ name }) => name === 'tiny')!;
  const { ours, peers } = await trainingMemory(tiny, 'float32', [], 1);
  t.deepEqual(peers, {});
  // Node alone takes more than the first, and the model next to nothing.
  t.true(ours.peakBytes > 30e6 && ours.peakBytes < 300e6, String(ours.peakBytes));
});
