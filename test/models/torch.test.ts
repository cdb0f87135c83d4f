import test from 'ava';
import { Graph, type Slot } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import { modelFromConfigJson } from '#src/models/huggingFace.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { crossEntropy } from '#src/ops/index.js';
import { difference } from '../reference/compare.js';
import { type Fixture, readFixture } from './fixtures.js';
import { interpretedRuns, nativeRuns, type Runs } from './runs.js';
import { storeGradients } from './storeGradients.js';

const cases = [
  'decoder-post-norm',
  'decoder-alibi-window',
  'masked',
  'masked-pre-norm',
  'classifier-mean',
  'classifier-first',
  'classifier-last',
  'bart',
  'marian',
  'marian-pre-norm',
];

/** A fixture's model, a graph with its loss, logits and all gradients, and places by the names of its checkpoint. */
function modelOf({ description, tensors }: Fixture) {
  const model = modelFromConfigJson(description);
  const table = parameterTable(model);
  const graph = new Graph();
  const names = [...tensors.keys()].filter((name) => tensors.get(name)!.data instanceof Int32Array);
  trace({ graph, training: true }, () => {
    const inputs = Object.fromEntries(
      names.map((name) => [name, graph.input({ name, shape: tensors.get(name)!.shape, dtype: 'i32' })]),
    );
    const { targets, ...given } = inputs;
    const { logits } = model.forward(given as never) as { logits: ReturnType<typeof graph.readSlot> };
    const { lossSum, tokenCount } = crossEntropy(logits, targets, description.labelSmoothing as number);
    storeGradients(graph, table, lossSum);
    graph.output('logits', logits);
    graph.output('lossSum', lossSum);
    graph.output('tokenCount', tokenCount);
  });
  const places = checkpointTensors(model, table).map(
    ({ name, shape, offset }): Slot => ({ arena: 'parameters', name, shape, offset, dtype: 'f32' }),
  );
  return { model, table, graphs: { all: graph }, places, names };
}

/** How far each way to run may be from PyTorch's float32; in logits absolutely, in gradients relative to the largest. */
const backends: Readonly<
  Record<string, { open: (model: ReturnType<typeof modelOf>) => Promise<Runs>; bound: number }>
> = {
  interpreter: { open: async ({ graphs }) => interpretedRuns(graphs), bound: 2e-5 },
  kernels: { open: ({ graphs }) => nativeRuns(graphs, undefined), bound: 1e-4 },
};

/** Logits of places that count; PyTorch's modules compute something else at padding. */
function counted(values: ArrayLike<number>, targets: ArrayLike<number>): number[] {
  const width = values.length / targets.length;
  return Array.from(values).filter((_, index) => targets[Math.floor(index / width)] >= 0);
}

for (const [backend, { open, bound }] of Object.entries(backends)) {
  for (const name of cases) {
    test(`${name} is what PyTorch's modules compute, by the ${backend}`, async (t) => {
      const fixture = await readFixture(name);
      const values = (key: string) => fixture.tensors.get(key)!.data;
      const model = modelOf(fixture);
      const runs = await open(model);
      try {
        for (const place of model.places) await runs.write(place, values(place.name));
        const inputs = Object.fromEntries(model.names.map((key) => [key, values(key)]));
        const found = await runs.run('all', inputs);
        const [logits, expected] = [found.get('logits')!, values('logits')].map((all) =>
          counted(all, values('targets')),
        );
        t.is(difference(logits, expected, { rtol: 0, atol: bound }), undefined, 'logits');
        const count = found.get('tokenCount')![0];
        t.is(count, Array.from(values('targets')).filter((target) => target >= 0).length);
        const loss = found.get('lossSum')![0] / count;
        t.true(Math.abs(loss - values('loss')[0]) < 1e-5, `loss ${loss}`);

        const names = [...fixture.tensors.keys()].filter((key) => key.startsWith('grad.'));
        t.deepEqual(
          model.places.map((place) => `grad.${place.name}`).sort(),
          names.sort(),
          'every tensor of the checkpoint has its place',
        );
        for (const place of model.places) {
          const sums = await runs.read({ ...place, arena: 'gradients' });
          const gradient = Float64Array.from(sums, (sum) => sum / count);
          const message = difference(gradient, values(`grad.${place.name}`), { rtol: bound, atol: 1e-6 });
          t.is(message, undefined, place.name);
        }
      } finally {
        await runs.close();
      }
    });
  }
}

for (const name of cases) {
  test(`${name}: the table counts as many floats as the checkpoint holds`, async (t) => {
    const fixture = await readFixture(name);
    const { table, places } = modelOf(fixture);
    const floats = places.reduce((sum, place) => sum + fixture.tensors.get(place.name)!.data.length, 0);
    t.is(table.count, floats);
    for (const place of places) t.deepEqual([...place.shape], [...fixture.tensors.get(place.name)!.shape]);
  });
}
