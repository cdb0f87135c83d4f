import test from 'ava';
import { compile, gradients } from '#src/compile/index.js';
import { recomputeBlocks } from '#src/compile/recompute.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { exp, multiply, sum } from '#src/ops/index.js';
import { firstDifference } from '../reference/compare.js';
import { executed, interpreted } from './run.js';
import { training } from './training.js';

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
