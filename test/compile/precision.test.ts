import test from 'ava';
import { compile, gradients, lowerPrecision, mirrorGraph, mirrorOf, printGraph } from '#src/compile/index.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import { add, crossEntropy, embedding, gelu, layerNorm, matmul, sample, transpose } from '#src/ops/index.js';
import { interpret } from '../reference/interpreter.js';

let at = 0;
const parameter = (name: string, shape: number[]): Slot => {
  const slot: Slot = { arena: 'parameters', offset: at, shape, dtype: 'f32', name };
  at += 4096 * Math.ceil((4 * shape.reduce((a, b) => a * b, 1)) / 4096);
  return slot;
};

/** A language model of one layer: embedding, norm, product with a bias, activation, tied classifier; its loss and gradients. */
function training(): Graph {
  at = 0;
  const slots = [
    parameter('table', [11, 8]),
    parameter('weight', [8, 8]),
    parameter('bias', [8]),
    parameter('scale', [8]),
  ];
  const graph = new Graph();
  const [table, weight, bias, scale] = slots.map((slot) => graph.readSlot(slot));
  const ids = graph.input({ name: 'ids', shape: [6], dtype: 'i32', minimum: 0, limit: 11 });
  const x = embedding(ids, table);
  const hidden = add(x, gelu(add(matmul(layerNorm(x, scale), weight), bias)));
  const { lossSum } = crossEntropy(matmul(hidden, transpose(table)), ids);
  gradients(lossSum, [table, weight, bias, scale]).forEach((gradient, index) => {
    graph.store(gradient!, { ...slots[index], arena: 'gradients', name: `d${slots[index].name}` });
  });
  graph.output('loss', lossSum);
  return graph;
}

test('matrices and activations become bf16; losses, statistics and gradients of parameters do not', (t) => {
  t.snapshot(printGraph(training()), 'as traced');
  t.snapshot(printGraph(lowerPrecision(training())), 'in bf16');
});

test('fused first, then lowered', (t) => {
  t.snapshot(compile(training(), { precision: 'bf16' }).graphText());
});

test('every op gets the dtypes that its signature asks for, and stores keep theirs', (t) => {
  const lowered = lowerPrecision(training());
  for (const { tensor, slot } of lowered.stores) t.is(tensor.dtype, slot.dtype);
  for (const [name, tensor] of lowered.outputs) t.is(tensor.dtype, 'f32', name);
  const mirrored = lowered.nodes
    .filter(({ slot }) => slot?.arena === 'parametersBf16')
    .map(({ slot }) => slot!.name);
  t.deepEqual(mirrored.sort(), ['table.bf16', 'weight.bf16', 'bias.bf16'].sort());
});

test('logits to sample from are float32 results of bf16 products', (t) => {
  const graph = new Graph();
  const a = graph.input({ name: 'a', shape: [2, 8], dtype: 'f32' });
  const b = graph.input({ name: 'b', shape: [8, 5], dtype: 'f32' });
  graph.output('token', sample(matmul(a, b)).token);
  t.snapshot(printGraph(lowerPrecision(graph)));
});

test('the mirror lies at the same elements and holds rounded numbers', (t) => {
  const slot: Slot = { arena: 'parameters', offset: 4096, shape: [3], dtype: 'f32', name: 'p' };
  t.like(mirrorOf(slot), { arena: 'parametersBf16', offset: 2048, shape: [3], dtype: 'bf16' });
  const graph = mirrorGraph(1024);
  t.like(graph.stores[0].slot, { arena: 'parametersBf16', offset: 0, shape: [1024], dtype: 'bf16' });
  t.is(compile(graph).memory.parametersBf16, 2048);
});

test('the interpreter rounds to the nearest, ties to even', (t) => {
  const graph = new Graph();
  const x = graph.input({ name: 'x', shape: [6], dtype: 'f32' });
  const slot: Slot = { arena: 'kvCache', offset: 0, shape: [6], dtype: 'bf16', name: 'y' };
  graph.store(x, slot);
  graph.output('y', graph.readSlot(slot));
  const inputs = { x: [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -3.4e38, 0, 2 ** -130] };
  const { data } = interpret(lowerPrecision(graph), { inputs }).get('y')!;
  t.deepEqual([...data], [1, 1 + 2 ** -6, 1 + 2 ** -7, Number.NEGATIVE_INFINITY, 0, 2 ** -130]);
});
