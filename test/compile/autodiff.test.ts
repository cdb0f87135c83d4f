import test from 'ava';
import { gradients, printGraph } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import { add, exp, matmul, multiply, scale, split, sum } from '#src/ops/index.js';
import { interpret } from '../reference/interpreter.js';
import { graphOf, lines } from './graphs.js';

test('gradients are nodes of the same graph', (t) => {
  const graph = graphOf({ x: [2], y: [2] }, ({ x, y }) => {
    const [dx] = gradients(multiply(exp(x), y), [x]);
    return { dx: dx! };
  });
  t.deepEqual(
    lines(printGraph(graph)),
    lines(`
      %0[2] = unary($x) {kind: exp}
      %1[2] = multiply(%0, $y)
      %2[2] = fill() {value: 1, shape: 2}
      %3[2] = multiply(%2, $y)
      %4[2] = multiply(%2, %0)
      %5[2] = multiply(%3, %0)
      output dx = %5
    `),
  );
});

test('a tensor that is used twice gets the sum of both gradients', (t) => {
  const graph = graphOf({ x: [3] }, ({ x }) => {
    const [dx] = gradients(add(multiply(x, x), scale(x, 3)), [x]);
    return { dx: dx! };
  });
  const found = interpret(graph, { inputs: { x: [1, -2, 0.5] } }).get('dx')!;
  t.deepEqual([...found.data], [5, -1, 4]);
});

test('what the target does not depend on has no gradient', (t) => {
  const graph = new Graph();
  const [x, y] = ['x', 'y'].map((name) => graph.input({ name, shape: [2], dtype: 'f32' }));
  t.deepEqual(
    gradients(sum(scale(x, 2)), [x, y]).map((gradient) => gradient?.shape),
    [[2], undefined],
  );
});

test('only paths from what is asked for are differentiated', (t) => {
  const graph = new Graph();
  const [x, w, v] = [
    [2, 3],
    [3, 4],
    [4, 5],
  ].map((shape, index) => graph.input({ name: `${index}`, shape, dtype: 'f32' }));
  const products = () => graph.nodes.filter(({ op }) => op.name === 'matmul').length;
  const y = matmul(matmul(x, w), v);
  t.is(products(), 2);
  gradients(y, [v]);
  // dv alone is one more product; the gradient of the other factor is recorded with it, and dies as dead code.
  t.is(products(), 4);
});

test('a part of a split that nobody reads counts as zeros', (t) => {
  const graph = graphOf({ x: [4] }, ({ x }) => {
    const [left] = split(x, [1, 3]);
    const [dx] = gradients(scale(left, 2), [x]);
    return { dx: dx! };
  });
  t.deepEqual([...interpret(graph, { inputs: { x: [1, 2, 3, 4] } }).get('dx')!.data], [2, 0, 0, 0]);
});

test('the gradient of a gradient', (t) => {
  const graph = graphOf({ x: [1] }, ({ x }) => {
    const [first] = gradients(multiply(multiply(x, x), x), [x]);
    const [second] = gradients(first!, [x]);
    return { first: first!, second: second! };
  });
  const found = interpret(graph, { inputs: { x: [2] } });
  t.deepEqual(
    ['first', 'second'].map((name) => found.get(name)!.data[0]),
    [12, 12],
  );
});
