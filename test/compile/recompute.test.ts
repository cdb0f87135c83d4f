import test from 'ava';
import { compile, gradients } from '#src/compile/index.js';
import { recomputeBlocks } from '#src/compile/recompute.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { Decoder } from '#src/models/decoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { crossEntropy, exp, multiply, sum } from '#src/ops/index.js';
import { integers, normal, valuesOf } from '../ops/sample.js';
import { firstDifference } from '../reference/compare.js';
import { executed, interpreted, type Situation } from './run.js';

const opsOf = (graph: Graph, from: number, to: number) =>
  graph.nodes
    .filter(({ order }) => order >= from && order < to)
    .sort((a, b) => a.order - b.order)
    .map(({ op }) => op.name);

test('what only the backward pass reads of a block is computed again there', (t) => {
  const graph = new Graph();
  const x = graph.input({ name: 'x', shape: [4], dtype: 'f32' });
  trace({ graph, training: true }, () => {
    const y = graph.block(() => exp(multiply(x, x)));
    const loss = sum(graph.block(() => multiply(exp(y), y)));
    graph.output('gradient', gradients(loss, [x])[0]!);
  });
  const backward = graph.backwardFrom!;
  const before = opsOf(graph, 0, Number.POSITIVE_INFINITY);
  const after = recomputeBlocks(graph);
  // Of the first block x * x and exp are inside; of the second, exp(y).
  t.is(before.filter((name) => name === 'unary').length, 2);
  const again = opsOf(after, backward, Number.POSITIVE_INFINITY);
  t.deepEqual(
    again.filter((name) => name === 'unary'),
    ['unary'],
    'y is what the first block gives to the second; exp(y) is computed again',
  );
  const inputs = { inputs: { x: [0.1, -0.4, 0.7, 1] } };
  t.is(
    firstDifference(interpreted(after, inputs), interpreted(graph, inputs), { rtol: 0, atol: 0 }),
    undefined,
  );
});

/** A training pass of a model with dropout, its gradients stored, and what to run it with. */
function training(kind: 'gpt2' | 'llama' | 'marian', layers: number, hiddenSize: number, length: number) {
  const sizes = {
    vocabSize: 11,
    hiddenSize,
    numHiddenLayers: layers,
    numAttentionHeads: 2,
    maxPositionEmbeddings: length,
    dropout: 0.2,
  };
  const model =
    kind === 'marian'
      ? new EncoderDecoder({ modelType: kind, ...sizes })
      : new Decoder({ modelType: kind, ...sizes });
  const table = parameterTable(model);
  const graph = new Graph();
  trace({ graph, training: true }, () => {
    const [inputIds, targets] = ['inputIds', 'targets'].map((name) =>
      graph.input({ name, shape: [2, length], dtype: 'i32', minimum: 0, limit: 11 }),
    );
    const { logits } = model.forward({ inputIds, decoderInputIds: inputIds });
    const { lossSum } = crossEntropy(logits, targets);
    const found = gradients(
      lossSum,
      table.entries.map(({ slot }) => graph.readSlot(slot)),
    );
    table.entries.forEach(({ slot }, index) => {
      graph.store(found[index]!, { ...slot, arena: 'gradients' });
    });
    graph.output('lossSum', lossSum);
  });
  const state = table.entries.flatMap(({ slot, name }) => [
    { slot, values: valuesOf('recompute', name, normal(slot.shape, 0.3)) },
    {
      slot: { ...slot, arena: 'gradients' as const, name: `gradient of ${name}` },
      values: valuesOf('recompute', 'zero', normal(slot.shape, 0)),
    },
  ]);
  const ids = (name: string) => valuesOf('recompute', name, integers([2, length], 0, 11));
  const situation: Situation = {
    inputs: { inputIds: ids('inputIds'), targets: ids('targets') },
    state,
    scalars: { seed: 3, step: 4 },
  };
  return { graph, situation };
}

for (const kind of ['gpt2', 'llama', 'marian'] as const) {
  for (const fuse of [true, false]) {
    test(`${kind}: gradients are the same with blocks computed twice, ${fuse ? 'fused' : 'unfused'}`, (t) => {
      const { graph, situation } = training(kind, 2, 8, 5);
      const expected = interpreted(graph, situation);
      const { results } = executed(graph, situation, { fuse, recompute: true });
      t.is(firstDifference(results, expected, { rtol: 1e-9, atol: 1e-11 }), undefined);
    });
  }

  test(`${kind}: memory falls, and arithmetic rises by at most a third`, (t) => {
    const { graph } = training(kind, 6, 32, 64);
    const [kept, again] = [false, true].map((recompute) => compile(graph, { recompute }));
    t.true(
      again.memory.activations < 0.6 * kept.memory.activations,
      `${kept.memory.activations} to ${again.memory.activations} bytes`,
    );
    t.true(again.flops > kept.flops && again.flops < 1.34 * kept.flops, `${kept.flops} to ${again.flops}`);
  });
}

test('a program without a backward pass stays as it is', (t) => {
  const graph = new Graph();
  trace({ graph, training: false }, () => {
    const x = graph.input({ name: 'x', shape: [4], dtype: 'f32' });
    graph.output(
      'y',
      graph.block(() => exp(multiply(x, x))),
    );
  });
  t.is(recomputeBlocks(graph), graph);
});
