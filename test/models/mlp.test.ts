import test from 'ava';
import { gradients } from '#src/compile/index.js';
import { ConfigError } from '#src/errors.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { initialValues } from '#src/models/initialize.js';
import { Mlp, mlpConfig } from '#src/models/mlp.js';
import { parameterTable } from '#src/models/parameterTable.js';
import type { HiddenAct } from '#src/nn/index.js';
import { crossEntropy } from '#src/ops/index.js';
import { trainingArenas, trainingSlots } from '#src/train/arenas.js';
import { adam, appendUpdate } from '#src/train/optimizer.js';
import { nativeRuns } from './runs.js';

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
      const found = gradients(
        lossSum,
        table.entries.map(({ slot }) => graph.readSlot(slot)),
      );
      table.entries.forEach(({ slot }, index) => {
        graph.store(found[index]!, { ...slot, arena: 'gradients' });
      });
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

test('sizes and activations that cannot be are refused', (t) => {
  const sizes = { inputSize: 2, hiddenSizes: [3], numLabels: 2 };
  const refusal = (message: RegExp) => ({ instanceOf: ConfigError, message });
  t.throws(() => mlpConfig({ ...sizes, hiddenSizes: [3, 0] }), refusal(/hiddenSizes\[1\].*but is 0/));
  t.throws(() => mlpConfig({ ...sizes, hiddenAct: 'swiglu' }), refusal(/needs a gate/));
  t.throws(() => mlpConfig({ ...sizes, hiddenAct: 'step' as never }), refusal(/'step' is unknown/));
});
