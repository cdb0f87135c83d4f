import test, { type ExecutionContext } from 'ava';
import { gradients, printGraph } from '#src/compile/index.js';
import { composePermutes, eliminateCommonSubexpressions, transposeProducts } from '#src/compile/simplify.js';
import type { Graph } from '#src/graph/graph.js';
import { add, exp, matmul, multiply, permute, scale, transpose } from '#src/ops/index.js';
import { firstDifference } from '../reference/compare.js';
import { graphOf, lines, randomInputs, slotAt } from './graphs.js';
import { interpreted } from './run.js';

function check(t: ExecutionContext, pass: (graph: Graph) => Graph, before: Graph, after: string): Graph {
  const result = pass(before);
  t.deepEqual(lines(printGraph(result)), lines(after));
  const inputs = randomInputs(before, t.title);
  const [expected, found] = [before, result].map((graph) => interpreted(graph, { inputs }));
  t.is(firstDifference(found, expected, { rtol: 1e-13, atol: 1e-14 }), undefined);
  return result;
}

test('equal expressions are computed once', (t) => {
  const graph = graphOf({ x: [3] }, ({ x }) => ({ y: add(exp(x), exp(x)), z: scale(exp(x), 2) }));
  check(
    t,
    eliminateCommonSubexpressions,
    graph,
    `
      %0[3] = unary($x) {kind: exp}
      %1[3] = add(%0, %0)
      %2[3] = scale(%0) {factor: 2}
      output y = %1
      output z = %2
    `,
  );
});

test('expressions with other attributes are not equal', (t) => {
  const graph = graphOf({ x: [3] }, ({ x }) => ({ y: add(scale(x, 2), scale(x, 3)) }));
  check(
    t,
    eliminateCommonSubexpressions,
    graph,
    `
      %0[3] = scale($x) {factor: 2}
      %1[3] = scale($x) {factor: 3}
      %2[3] = add(%0, %1)
      output y = %2
    `,
  );
});

test('what nobody reads disappears, its inputs too', (t) => {
  const graph = graphOf({ x: [3] }, ({ x }) => {
    multiply(exp(x), x);
    return { y: scale(x, 2) };
  });
  check(
    t,
    eliminateCommonSubexpressions,
    graph,
    `
      %0[3] = scale($x) {factor: 2}
      output y = %0
    `,
  );
});

test('two reads of a place are not one where something is written in between', (t) => {
  const slot = slotAt('s', 0, [2]);
  const graph = graphOf({ x: [2] }, ({ x }, graph) => {
    const before = exp(graph.readSlot(slot));
    graph.store(x, slot);
    return { before, after: exp(graph.readSlot(slot)) };
  });
  const simple = eliminateCommonSubexpressions(graph);
  t.is(simple.nodes.filter(({ op }) => op.name === 'unary').length, 2);
  const found = interpreted(simple, { inputs: { x: [1, 2] }, state: [{ slot, values: [3, 4] }] });
  t.deepEqual([...found.get('before')!.data], [Math.exp(3), Math.exp(4)]);
  t.deepEqual([...found.get('after')!.data], [Math.exp(1), Math.exp(2)]);
});

test('a transposed product is the product of the transposed factors', (t) => {
  const graph = graphOf({ a: [2, 3, 4], b: [2, 4, 5] }, ({ a, b }) => ({ y: transpose(matmul(a, b)) }));
  check(
    t,
    transposeProducts,
    graph,
    `
      %0[2, 5, 4] = permute($b) {axes: 0,2,1}
      %1[2, 4, 3] = permute($a) {axes: 0,2,1}
      %2[2, 5, 3], %3[2, 5, 3], %4[2, 3] = matmul(%0, %1)
      output y = %2
    `,
  );
});

test('a product that is read as it is stays', (t) => {
  const graph = graphOf({ a: [2, 3], b: [3, 4] }, ({ a, b }) => {
    const y = matmul(a, b);
    return { y, z: transpose(y) };
  });
  check(
    t,
    transposeProducts,
    graph,
    `
      %0[2, 4], %1[2, 4], %2[4] = matmul($a, $b)
      %3[4, 2] = permute(%0) {axes: 1,0}
      output y = %0
      output z = %3
    `,
  );
});

test('a permutation of a permutation is one; none at all where they cancel', (t) => {
  const graph = graphOf({ x: [2, 3, 4] }, ({ x }) => ({
    y: permute(permute(x, [2, 0, 1]), [1, 0, 2]),
    z: scale(permute(permute(x, [2, 0, 1]), [1, 2, 0]), 2),
  }));
  check(
    t,
    composePermutes,
    graph,
    `
      %0[2, 4, 3] = permute($x) {axes: 0,2,1}
      %1[2, 3, 4] = scale($x) {factor: 2}
      output y = %0
      output z = %1
    `,
  );
});

test('the gradient of a transposed weight comes in the layout of the weight', (t) => {
  const graph = graphOf({ x: [6, 3], w: [5, 3] }, ({ x, w }) => {
    const [dw] = gradients(matmul(x, transpose(w)), [w]);
    return { dw: dw! };
  });
  check(
    t,
    (traced) => composePermutes(transposeProducts(traced)),
    graph,
    `
      %0[6, 5] = fill() {value: 1, shape: 6,5}
      %1[5, 6] = permute(%0) {axes: 1,0}
      %2[5, 3], %3[5, 3], %4[3] = matmul(%1, $x)
      output dw = %2
    `,
  );
});
