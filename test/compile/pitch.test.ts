import test from 'ava';
import { type CompileOptions, gradients } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import { crossEntropy, matmul, scale, transpose } from '#src/ops/index.js';
import { dtypeBytes } from '#src/shape/dtype.js';
import { firstDifference } from '../reference/compare.js';
import type { Buffer, Machine } from '../reference/machine.js';
import { randomInputs } from './graphs.js';
import { executed, interpreted } from './run.js';

const [rows, size, vocabSize] = [6, 16, 131];

/** A classifier with a tied weight and all its gradients; its logits are an output too where `shown`. */
function classifier(shown = false): Graph {
  const graph = new Graph();
  const hidden = graph.input({ name: 'hidden', shape: [rows, size], dtype: 'f32' });
  const weight = graph.input({ name: 'weight', shape: [vocabSize, size], dtype: 'f32' });
  const ids = graph.input({ name: 'ids', shape: [rows], dtype: 'i32', minimum: -1, limit: vocabSize });
  const logits = matmul(scale(hidden, 2), transpose(weight));
  const { lossSum } = crossEntropy(logits, ids, 0.1);
  graph.output('lossSum', lossSum);
  if (shown) graph.output('logits', logits);
  gradients(lossSum, [hidden, weight]).forEach((gradient, index) => {
    graph.output(`gradient${index}`, gradient!);
  });
  return graph;
}

const run = (graph: Graph, options: CompileOptions = {}) =>
  executed(graph, { inputs: randomInputs(graph, 'pitch') }, options);

/** Operands of products with an extent of the vocabulary, weights and their gradients apart. */
const logitsOf = ({ instructions }: Machine): Buffer[] =>
  instructions
    .filter(({ op }) => op.name === 'matmul')
    .flatMap(({ inputs, outputs }) => [...inputs, ...outputs])
    .filter((buffer) => buffer?.shape.includes(vocabSize) && !buffer.shape.includes(size)) as Buffer[];

const isAligned = ({ dtype, offset, strides }: Buffer) =>
  [offset, ...strides.filter((stride) => stride !== 1).map((stride) => stride * dtypeBytes(dtype))].every(
    (bytes) => bytes % 16 === 0,
  );

for (const [name, options] of Object.entries({
  'at once': {},
  'in chunks': { maxLogitsBytes: 4 * vocabSize * 3 },
  'in bf16': { precision: 'bf16' },
  unfused: { fuse: false },
} satisfies Record<string, CompileOptions>)) {
  test(`rows of logits over an odd vocabulary begin on boundaries of 16 bytes, ${name}`, (t) => {
    const { results, machine, program } = run(classifier(), options);
    const logits = logitsOf(machine);
    t.true(logits.length >= 3);
    t.deepEqual(
      logits.filter((buffer) => !isAligned(buffer)),
      [],
      program.planText(),
    );
    if (name === 'in bf16') return; // results of lowered graphs are compared in precision.test.ts
    const expected = interpreted(classifier(), { inputs: randomInputs(classifier(), 'pitch') });
    t.is(firstDifference(results, expected, { rtol: 1e-10, atol: 1e-10 }), undefined);
  });
}

test('the gradient of padded logits still takes over their memory', (t) => {
  const { program } = run(classifier());
  const [logits, others] = [4 * rows * 144, 64 * 8 + 4 * rows * size];
  t.true(program.memory.activations <= logits + others, program.planText());
});

test('logits that something reads without gaps have none', (t) => {
  const { machine, program } = run(classifier(true));
  t.true(
    logitsOf(machine).some((buffer) => !isAligned(buffer)),
    program.planText(),
  );
});

test('results of rows that are whole units have no gaps', (t) => {
  const graph = new Graph();
  const x = graph.input({ name: 'x', shape: [5, 8], dtype: 'f32' });
  graph.output('y', matmul(matmul(x, transpose(x)), x)); // 5 numbers a row, then 8
  const { machine } = run(graph);
  const strides = machine.instructions.map(({ outputs }) => outputs[0]!.strides.slice(0, 2));
  t.deepEqual(strides, [
    [8, 1],
    [8, 1],
  ]);
});
