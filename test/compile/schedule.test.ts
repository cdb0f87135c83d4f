import test, { type ExecutionContext } from 'ava';
import { passes } from '#src/compile/index.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import { add, cacheWriteOp, matmul, multiply, reshape, scale, split } from '#src/ops/index.js';
import { firstDifference } from '../reference/compare.js';
import { slotAt } from './graphs.js';
import { executed, interpreted, type Situation } from './run.js';

const s = slotAt('s', 0, [2]);
const other = slotAt('other', 64, [2]);

/** Outputs and slots after a run: as the interpreter has them, as every pass keeps them, and as the program leaves them. */
function results(
  t: ExecutionContext,
  build: (graph: Graph, x: Tensor) => Readonly<Record<string, Tensor>>,
  state: Situation['state'],
): Record<string, number[]> {
  const traced = (): Graph => {
    const graph = new Graph();
    const x = graph.input({ name: 'x', shape: [2], dtype: 'f32' });
    for (const [name, tensor] of Object.entries(build(graph, x))) graph.output(name, tensor);
    return graph;
  };
  const situation = { inputs: { x: [10, 20], starts: [1] }, state };
  const expected = interpreted(traced(), situation);
  const passed = passes().reduce((graph, pass) => pass(graph), traced());
  const tolerance = { rtol: 0, atol: 0 };
  t.is(firstDifference(interpreted(passed, situation), expected, tolerance), undefined, 'passes');
  for (const fuse of [true, false]) {
    const { results: found } = executed(traced(), situation, { fuse });
    t.is(firstDifference(found, expected, tolerance), undefined, `program, fuse: ${fuse}`);
  }
  return Object.fromEntries([...expected].map(([name, { data }]) => [name, [...data]]));
}

const start = (slot: Slot, ...values: number[]) => ({ slot, values });

test('a read before a store sees the old value, one after it the new one', (t) => {
  const found = results(
    t,
    (graph, x) => {
      const before = scale(graph.readSlot(s), 2);
      graph.store(scale(x, 3), s);
      return { before, after: scale(graph.readSlot(s), 2) };
    },
    [start(s, 1, 2)],
  );
  t.deepEqual(found, { before: [2, 4], after: [60, 120], '@s': [30, 60] });
});

test('a gradient that accumulates reads the place it is stored to', (t) => {
  const found = results(
    t,
    (graph, x) => {
      graph.store(add(graph.readSlot(s), scale(x, 3)), s);
      return {};
    },
    [start(s, 1, 2)],
  );
  t.deepEqual(found, { '@s': [31, 62] });
});

test('a product accumulates into the place it is stored to', (t) => {
  const w = slotAt('w', 0, [2, 2]);
  const found = results(
    t,
    (graph, x) => {
      const column = reshape(x, [2, 1]);
      graph.store(add(graph.readSlot(w), matmul(column, reshape(x, [1, 2]))), w);
      return {};
    },
    [start(w, 1, 2, 3, 4)],
  );
  t.deepEqual(found, { '@w': [101, 202, 203, 404] });
});

test('two stores to a place: the later one stays', (t) => {
  const found = results(
    t,
    (graph, x) => {
      graph.store(scale(x, 2), s);
      const between = scale(graph.readSlot(s), 1);
      graph.store(scale(x, 5), s);
      return { between };
    },
    [start(s, 0, 0)],
  );
  t.deepEqual(found, { between: [20, 40], '@s': [50, 100] });
});

test('one value in two places, and a value that is stored and read on', (t) => {
  const found = results(
    t,
    (graph, x) => {
      const y = multiply(x, x);
      graph.store(y, s);
      graph.store(y, other);
      return { y, z: scale(y, 2) };
    },
    [start(s, 0, 0), start(other, 0, 0)],
  );
  t.deepEqual(found, { y: [100, 400], z: [200, 800], '@s': [100, 400], '@other': [100, 400] });
});

test('a store of an input, and of another place', (t) => {
  const found = results(
    t,
    (graph, x) => {
      graph.store(graph.readSlot(s), other);
      graph.store(x, s);
      return {};
    },
    [start(s, 1, 2), start(other, 7, 7)],
  );
  t.deepEqual(found, { '@s': [10, 20], '@other': [1, 2] });
});

test('the parts of a place are stored one by one and read as a whole', (t) => {
  const whole = slotAt('whole', 0, [4]);
  const [left, right] = [slotAt('left', 0, [2]), slotAt('right', 8, [2])];
  const found = results(
    t,
    (graph, x) => {
      graph.store(scale(x, 2), left);
      graph.store(scale(x, 3), right);
      return { all: scale(graph.readSlot(whole), 1), part: split(graph.readSlot(whole), [1, 3])[1] };
    },
    [start(whole, 0, 0, 0, 0)],
  );
  t.deepEqual(found.all, [20, 40, 30, 60]);
  t.deepEqual(found.part, [40, 30, 60]);
});

test('an op in place: earlier reads see what was there, later ones what it wrote', (t) => {
  const cache = slotAt('cache', 0, [1, 4, 1, 2]);
  const found = results(
    t,
    (graph, x) => {
      const before = scale(graph.readSlot(cache), 1);
      const starts = graph.input({ name: 'starts', shape: [1], dtype: 'i32' });
      cacheWriteOp([graph.readSlot(cache), reshape(x, [1, 1, 1, 2]), starts]);
      const between = scale(graph.readSlot(cache), 1);
      cacheWriteOp([graph.readSlot(cache), reshape(scale(x, -1), [1, 1, 1, 2]), starts]);
      return { before, between, after: graph.readSlot(cache) };
    },
    [start(cache, 1, 2, 3, 4, 5, 6, 7, 8)],
  );
  t.deepEqual(found.before, [1, 2, 3, 4, 5, 6, 7, 8]);
  t.deepEqual(found.between, [1, 2, 10, 20, 5, 6, 7, 8]);
  t.deepEqual(found.after, [1, 2, -10, -20, 5, 6, 7, 8]);
});
