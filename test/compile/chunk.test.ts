import test from 'ava';
import { compile, gradients, passes, printGraph } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import { add, crossEntropy, matmul, scale, transpose } from '#src/ops/index.js';
import { sizeOf } from '#src/shape/shape.js';
import { integers, normal, valuesOf } from '../ops/sample.js';
import { firstDifference } from '../reference/compare.js';
import { executed, interpreted } from './run.js';

interface Classifier {
  readonly rows: number;
  readonly size: number;
  readonly vocabSize: number;
  /** The weight is [vocabSize, size], as a tied embedding. */
  readonly transposed?: boolean;
  readonly bias?: boolean;
  readonly training?: boolean;
}

/** Loss, and with `training` the gradients, of a classifier on hidden states. */
function classifier({ rows, size, vocabSize, transposed, bias, training }: Classifier): Graph {
  const graph = new Graph();
  const input = (name: string, shape: number[]): Tensor => graph.input({ name, shape, dtype: 'f32' });
  const x = input('x', [rows, size]);
  const weight = input('weight', transposed ? [vocabSize, size] : [size, vocabSize]);
  const offset = bias ? input('bias', [vocabSize]) : undefined;
  const targets = graph.input({
    name: 'targets',
    shape: [rows],
    dtype: 'i32',
    minimum: -1,
    limit: vocabSize,
  });
  const product = matmul(scale(x, 2), transposed ? transpose(weight) : weight);
  const { lossSum, tokenCount } = crossEntropy(offset ? add(product, offset) : product, targets, 0.1);
  graph.output('lossSum', lossSum);
  graph.output('tokenCount', tokenCount);
  if (!training) return graph;
  const leaves = { x, weight, ...(offset ? { bias: offset } : {}) };
  gradients(lossSum, Object.values(leaves)).forEach((gradient, index) => {
    graph.output(`gradient.${Object.keys(leaves)[index]}`, gradient!);
  });
  return graph;
}

const inputsOf = ({ rows, size, vocabSize, transposed }: Classifier) => ({
  x: valuesOf('chunk', 'x', normal([rows, size])),
  weight: valuesOf('chunk', 'weight', normal(transposed ? [vocabSize, size] : [size, vocabSize])),
  bias: valuesOf('chunk', 'bias', normal([vocabSize])),
  targets: valuesOf('chunk', 'targets', integers([rows], -1, vocabSize)),
});

/** The largest array with a vocabulary's extent that a graph makes, weights and their gradients apart. */
function largestLogits(graph: Graph, vocabSize: number, size: number): number {
  const arrays = graph.nodes
    .filter(({ op }) => op.hasKernel)
    .flatMap(({ outputs }) => outputs)
    .filter(({ shape }) => shape.includes(vocabSize) && !shape.includes(size));
  return 4 * Math.max(...arrays.map(({ shape }) => sizeOf(shape)));
}

const limit = 4 * 37 * 10;

for (const variant of [
  { transposed: false },
  { transposed: true },
  { transposed: false, bias: true, training: true },
  { transposed: true, training: true },
  { transposed: true, bias: true, training: true },
]) {
  test(`chunks compute what the whole computes: ${JSON.stringify(variant)}`, (t) => {
    const sizes: Classifier = { rows: 43, size: 6, vocabSize: 37, ...variant };
    const situation = { inputs: inputsOf(sizes) };
    const expected = interpreted(classifier(sizes), situation);
    const chunked = passes({ maxLogitsBytes: limit }).reduce((graph, pass) => pass(graph), classifier(sizes));
    const tolerance = { rtol: 1e-12, atol: 1e-12 };
    t.is(firstDifference(interpreted(chunked, situation), expected, tolerance), undefined);
    t.is(chunked.nodes.filter(({ op }) => op.name === 'softmax_cross_entropy').length, 5);
    t.true(largestLogits(chunked, 37, 6) <= limit, printGraph(chunked));
    const { results, program } = executed(classifier(sizes), situation, { maxLogitsBytes: limit });
    t.is(firstDifference(results, expected, tolerance), undefined);
    t.true(program.memory.activations < compile(classifier(sizes)).memory.activations);
  });
}

test('rows that fit stay whole', (t) => {
  const sizes = { rows: 10, size: 6, vocabSize: 37, training: true };
  const whole = passes({ maxLogitsBytes: limit }).reduce((graph, pass) => pass(graph), classifier(sizes));
  t.is(whole.nodes.filter(({ op }) => op.name === 'softmax_cross_entropy').length, 1);
});

test('16,384 tokens over 50,257 words: logits stay below 256 MiB', (t) => {
  const sizes = { rows: 16_384, size: 64, vocabSize: 50_257, transposed: true, training: true };
  const program = compile(classifier(sizes));
  const hidden = 4 * sizes.rows * sizes.size;
  t.true(program.memory.activations < (256 << 20) + 4 * hidden, `${program.memory.activations} bytes`);
});
