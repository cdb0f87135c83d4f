import test from 'ava';
import { type CompileOptions, compile, gradients, passes, printGraph } from '#src/compile/index.js';
import { remakeCheapValues } from '#src/compile/remake.js';
import { liveNodes } from '#src/compile/rewrite.js';
import { Graph } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import { trace } from '#src/graph/trace.js';
import {
  activation,
  add,
  concat,
  dropout,
  exp,
  layerNorm,
  matmul,
  multiply,
  scale,
  sum,
} from '#src/ops/index.js';
import { firstDifference } from '../reference/compare.js';
import { graphOf, lines, randomInputs, slotAt } from './graphs.js';
import { executed, interpreted } from './run.js';
import { training } from './training.js';

const exactly = { rtol: 0, atol: 0 };

/** The gradient of x in the sum of y, as an output. */
function gradientOf(y: (x: Tensor, graph: Graph) => Tensor, shape: readonly number[] = [4, 4]): Graph {
  return graphOf({ x: shape }, ({ x }, graph) => {
    // What is kept behind y puts the peak of memory between its two readers.
    const loss = sum(exp(exp(exp(y(x, graph)))));
    return { loss, gradient: gradients(loss, [x])[0]! };
  });
}

/** Ops of the backward pass before and after, in their order. */
function backwardOps(graph: Graph, options: CompileOptions = {}): [string[], string[]] {
  const [before, after] = [Number.POSITIVE_INFINITY, 0].map((remakeBytes) => {
    const done = passes({ ...options, remakeBytes }).reduce((from, pass) => pass(from), graph);
    const late = done.nodes.filter(({ order, op }) => order >= done.backwardFrom! && op.hasKernel);
    return late.sort((a, b) => a.order - b.order).map(({ op }) => op.name);
  });
  return [before, after];
}

test('an activation whose input is kept is made again where the backward pass reads it', (t) => {
  const graph = gradientOf((x) => {
    const y = activation(x, 'gelu');
    return multiply(y, y); // reads y for its gradient, as gelu reads x
  });
  const activations = (from: Graph) => lines(printGraph(from)).filter((line) => line.includes('activation('));
  t.deepEqual(activations(graph), ['%0[4, 4] = activation($x) {kind: gelu}']);
  const again = remakeCheapValues(graph, 64);
  t.is(activations(again).length, 2);
  t.is(remakeCheapValues(graph, 65), graph, 'y has 64 bytes');
  const situation = { inputs: randomInputs(graph, 'remake') };
  t.is(firstDifference(interpreted(again, situation), interpreted(graph, situation), exactly), undefined);
});

test('the fused product still writes both, and an activation makes its result again', (t) => {
  const graph = graphOf({ x: [4, 4], up: [4, 8], down: [8, 4] }, ({ x, up, down }) => {
    const y = matmul(activation(matmul(x, up), 'gelu'), down);
    const [dx, ddown] = gradients(sum(multiply(y, y)), [x, down]);
    return { dx: dx!, ddown: ddown! };
  });
  const [before, after] = backwardOps(graph);
  t.false(before.includes('activation'));
  t.is(after.filter((op) => op === 'activation').length, 1);
  t.is(after[after.indexOf('activation') + 1], 'matmul');
});

test('a norm is made again of the sum that it wrote, without the parts of the sum', (t) => {
  const graph = graphOf({ x: [4, 4], z: [4, 4], weight: [4], w: [4, 4] }, ({ x, z, weight, w }) => {
    const y = matmul(layerNorm(matmul(x, x), weight), w);
    const residual = layerNorm(add(scale(y, 2), z), weight);
    const loss = sum(exp(exp(exp(multiply(residual, residual)))));
    const [dx, dw] = gradients(loss, [x, w]);
    return { loss, dx: dx!, dw: dw! };
  });
  const [before, after] = backwardOps(graph);
  t.false(before.includes('layer_norm'));
  t.is(after.filter((op) => op === 'layer_norm').length, 2);
  const situation = { inputs: randomInputs(graph, 'remake') };
  const [kept, again] = [Number.POSITIVE_INFINITY, 0].map(
    (remakeBytes) => executed(graph, situation, { remakeBytes }).results,
  );
  t.is(firstDifference(again, kept, exactly), undefined);
});

test('a step that nobody keeps is made on the way: the activation below a dropout', (t) => {
  const graph = graphOf({ x: [4, 4], w: [4, 4] }, ({ x, w }) => {
    const y = matmul(dropout(activation(x, 'gelu'), 0.3, 1), w);
    const [dx, dw] = gradients(sum(multiply(y, y)), [x, w]);
    return { dx: dx!, dw: dw! };
  });
  const [before, after] = backwardOps(graph);
  t.deepEqual(
    before.filter((op) => ['activation', 'dropout'].includes(op)),
    ['dropout'],
    'the gradient of the dropout itself',
  );
  t.deepEqual(
    after.filter((op) => ['activation', 'dropout'].includes(op)),
    ['activation', 'dropout', 'dropout'],
  );
  const situation = { inputs: randomInputs(graph, 'remake'), scalars: { seed: 3, step: 2 } };
  const { results } = executed(graph, situation, { remakeBytes: 0 });
  const message = firstDifference(results, interpreted(graph, situation), { rtol: 1e-10, atol: 1e-10 });
  t.is(message, undefined);
});

test('what fits below the peak is kept: the last norm, which the backward pass begins with', (t) => {
  const { graph } = training('gpt2', 2, 32, 64);
  const [, after] = backwardOps(graph);
  t.is(after.filter((op) => op === 'layer_norm').length, 4, 'of five');
});

/** Graphs, and the op that makes y. */
const stays: Record<string, [op: string, graph: Graph]> = {
  'nothing else keeps its input': [
    'scale',
    gradientOf((x) => {
      const y = scale(matmul(x, x), 2); // nobody reads the product again
      return multiply(y, y);
    }),
  ],
  'it lies in a slot anyway': [
    'activation',
    gradientOf((x, graph) => {
      const y = activation(x, 'gelu');
      graph.store(y, slotAt('y', 0, [4, 4]));
      return multiply(y, y);
    }),
  ],
  'it is a part of what is kept': [
    'activation',
    gradientOf((x) => {
      const y = activation(x, 'gelu');
      const both = concat([y, x], 0);
      return add(multiply(both, both), sum(multiply(y, y)));
    }),
  ],
  'its input is overwritten before': [
    'scale',
    gradientOf((x, graph) => {
      const slot = slotAt('state', 0, [4, 4]);
      const y = scale(graph.readSlot(slot), 2);
      graph.store(x, slot);
      return multiply(multiply(x, x), y);
    }),
  ],
};

for (const [reason, [op, graph]] of Object.entries(stays))
  test(`a value stays where ${reason}`, (t) => {
    const made = (from: Graph) => liveNodes(from).filter((node) => node.op.name === op).length;
    t.is(made(remakeCheapValues(graph, 0)), made(graph));
  });

for (const kind of ['gpt2', 'llama', 'marian'] as const) {
  for (const options of [{}, { fuse: false }, { recompute: true }] as const)
    test(`${kind}: gradients are the same to the last bit, ${JSON.stringify(options)}`, (t) => {
      const { graph, situation } = training(kind, 2, 8, 5);
      const [kept, again] = [Number.POSITIVE_INFINITY, 0].map((remakeBytes) =>
        executed(graph, situation, { ...options, remakeBytes }),
      );
      t.is(firstDifference(again.results, kept.results, exactly), undefined);
      if (!('recompute' in options)) t.true(again.program.instructions >= kept.program.instructions + 5);
    });

  test(`${kind}: memory falls by a quarter, arithmetic rises by less than a twentieth`, (t) => {
    const { graph } = training(kind, 6, 32, 64);
    const [kept, again] = [Number.POSITIVE_INFINITY, 0].map((remakeBytes) => compile(graph, { remakeBytes }));
    t.true(
      again.memory.activations < 0.75 * kept.memory.activations,
      `${kept.memory.activations} to ${again.memory.activations} bytes`,
    );
    t.true(again.flops > kept.flops && again.flops < 1.05 * kept.flops, `${kept.flops} to ${again.flops}`);
  });
}

test('a program without a backward pass stays as it is', (t) => {
  const graph = new Graph();
  trace({ graph, training: false }, () => {
    const x = graph.input({ name: 'x', shape: [4], dtype: 'f32' });
    graph.output('y', activation(x, 'gelu'));
  });
  t.is(remakeCheapValues(graph, 0), graph);
});
