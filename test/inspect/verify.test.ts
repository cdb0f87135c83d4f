import test from 'ava';
import { randomText } from '#src/inspect/takenStep.js';
import { compareResults, type Snapshot, tolerances, verify } from '#src/inspect/verify.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import { adamw } from '#src/train/optimizer.js';
import { testDevice } from '../device.js';

const model = new Decoder({
  modelType: 'llama',
  vocabSize: 37,
  hiddenSize: 32,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  maxPositionEmbeddings: 16,
  dropout: 0.1,
});

for (const recompute of [false, true])
  test(`a step on two devices agrees op by op${recompute ? ', recomputed' : ''}`, async (t) => {
    const found = await verify({
      model,
      objective: causal({ sequenceLength: 16 }),
      data: randomText(37, 100, 7),
      vocabSize: 37,
      batchSize: 3,
      optimizer: adamw({ learningRate: 1e-3 }),
      clip: { mode: 'norm', maximum: 1 },
      recompute,
      seed: 7,
      threads: 1,
      devices: ['cpu', testDevice],
    });
    t.is(found.difference, undefined);
    t.true(found.instructions > 50);
    // The forward pass of a recomputed block runs twice, and leaves its last products to the first.
    t.is(found.ops.rms_norm.count, recompute ? 9 : 5);
    for (const op of ['matmul', 'attention_backward', 'adamw', 'dropout'])
      t.true(found.ops[op].count > 0, op);
  });

test('the first op beyond its tolerance is named, in the order of the program', (t) => {
  const output = (offset: number, dtype: 'f32' | 'i32' = 'f32') =>
    ({ arena: 'activations', offset, shape: [2, 2], strides: [2, 1], dtype }) as const;
  const results = ['add', 'matmul', 'count'].map((op, index) => ({
    op,
    text: `${index} ${op}`,
    outputs: [output(16 * index, op === 'count' ? 'i32' : 'f32')],
  }));
  const snapshot = (change: (floats: Float32Array, integers: Int32Array) => void): Snapshot => {
    const memory = new ArrayBuffer(48);
    const floats = new Float32Array(memory, 0, 8).fill(2);
    const integers = new Int32Array(memory, 32, 4).fill(5);
    change(floats, integers);
    return new Map([['activations', new Uint8Array(memory)]]);
  };
  const expected = snapshot(() => {});
  const compare = (change: (floats: Float32Array, integers: Int32Array) => void) =>
    compareResults(results, expected, snapshot(change)).difference;
  t.is(
    compare(() => {}),
    undefined,
  );
  t.is(
    compare((floats) => {
      floats[1] += tolerances.float32.relative;
    }),
    undefined,
  );
  const wrong = compare((floats, integers) => {
    floats[6] = 3;
    integers[0] = 6;
  });
  t.like(wrong, { instruction: 1, op: 'matmul', output: 0, element: 2, values: [2, 3] });
  t.like(
    compare((_, integers) => {
      integers[3] = 6;
    }),
    { op: 'count', element: 3, allowed: 0 },
  );
  t.like(
    compare((floats) => {
      floats[0] = Number.NaN;
    }),
    { op: 'add', error: Number.POSITIVE_INFINITY },
  );
});
