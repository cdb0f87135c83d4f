import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { initialValues } from '#src/models/initialize.js';
import { Mlp, type MlpInputs, mlpConfig } from '#src/models/mlp.js';
import { parameterTable } from '#src/models/parameterTable.js';
import type { HiddenAct } from '#src/nn/index.js';
import { crossEntropy } from '#src/ops/index.js';
import { trainingArenas, trainingSlots } from '#src/train/arenas.js';
import { adam, appendUpdate } from '#src/train/optimizer.js';
import { nativeRuns } from './runs.js';
import { storeGradients } from './storeGradients.js';

for (const hiddenAct of ['sigmoid', 'relu', 'tanh', 'gelu'] satisfies HiddenAct[]) {
  test(`a hidden layer of ${hiddenAct} learns XOR`, async (t) => {
    const model = new Mlp({ inputSize: 2, hiddenSizes: [16], numLabels: 2, hiddenAct });
    const table = parameterTable(model);
    const optimizer = adam({ learningRate: 0.05 });
    const slots = trainingSlots(table, optimizer);
    const graph = new Graph();
    trace({ graph, training: true }, () => {
      const features = graph.input({ name: 'features', shape: [4, 2], dtype: 'f32' });
      const targets = graph.input({ name: 'targets', shape: [4], dtype: 'i32', minimum: 0, limit: 2 });
      const { logits } = model.forward({ features });
      const { lossSum, tokenCount } = crossEntropy(logits, targets);
      storeGradients(graph, table, lossSum);
      appendUpdate(graph.readSlot(slots.gradients), tokenCount, slots, optimizer, {
        mode: 'none',
        maximum: 1,
      });
      graph.output('logits', logits);
      graph.output('lossSum', lossSum);
    });
    const runs = await nativeRuns({ step: graph }, trainingArenas(table, slots));
    try {
      await runs.write(slots.blocks, table.blocks);
      await runs.write(slots.counters, [0, 0, 0, 0]);
      for (const slot of [...slots.moments, slots.gradients])
        await runs.write(slot, new Float32Array(slot.shape[0]));
      for (const { entry, values } of initialValues(model, table, 7)) await runs.write(entry.slot, values);
      const batch = { features: [0, 0, 0, 1, 1, 0, 1, 1], targets: [0, 1, 1, 0] };
      let found = await runs.run('step', batch, { learningRate: 0.05 });
      const first = found.get('lossSum')![0];
      for (let step = 1; step < 400; step++)
        found = await runs.run('step', batch, { learningRate: 0.05, step });
      const logits = found.get('logits')!;
      t.deepEqual(
        batch.targets.map((_, row) => (logits[2 * row + 1] > logits[2 * row] ? 1 : 0)),
        batch.targets,
      );
      const last = found.get('lossSum')![0];
      t.true(first > 2 && last < 0.2, `loss ${first} to ${last}`);
    } finally {
      await runs.close();
    }
  });
}

test('sparse and dense features are not taken for each other', (t) => {
  const graph = new Graph();
  const sizes = { inputSize: 2, hiddenSizes: [3], numLabels: 2 };
  const ids = graph.input({ name: 'ids', shape: [4, 1], dtype: 'i32', minimum: 0, limit: 2 });
  const weights = graph.input({ name: 'weights', shape: [4, 1], dtype: 'f32' });
  const features = graph.input({ name: 'features', shape: [4, 2], dtype: 'f32' });
  const forward = (sparseInput: boolean, inputs: MlpInputs) => () => {
    const model = new Mlp({ ...sizes, sparseInput });
    parameterTable(model);
    return trace({ graph, training: false }, () => model.forward(inputs).logits.shape);
  };
  const sparse = { featureIds: ids, featureWeights: weights };
  t.deepEqual(forward(true, sparse)(), [4, 2]);
  t.deepEqual(forward(false, { features })(), [4, 2]);
  t.throws(forward(false, sparse), {
    instanceOf: ConfigError,
    message: /without sparseInput takes features/,
  });
  t.throws(forward(true, { features }), {
    instanceOf: ConfigError,
    message: /with sparseInput takes featureIds/,
  });
});

test('sizes and activations that cannot be are refused', (t) => {
  const sizes = { inputSize: 2, hiddenSizes: [3], numLabels: 2 };
  const refusal = (message: RegExp) => ({ instanceOf: ConfigError, message });
  t.throws(() => mlpConfig({ ...sizes, hiddenSizes: [3, 0] }), refusal(/hiddenSizes\[1\].*but is 0/));
  t.throws(() => mlpConfig({ ...sizes, hiddenAct: 'swiglu' }), refusal(/needs a gate/));
  t.throws(() => mlpConfig({ ...sizes, hiddenAct: 'step' as never }), refusal(/'step' is unknown/));
});
