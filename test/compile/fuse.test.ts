import test, { type ExecutionContext } from 'ava';
import {
  fuseActivation,
  fuseActivationBackward,
  fuseAddend,
  fuseBias,
  fuseBiasGradient,
  fuseCrossEntropy,
  fuseEmbeddingBackward,
  fuseNormBackward,
  fuseResidualNorm,
} from '#src/compile/fuse.js';
import { gradients, printGraph } from '#src/compile/index.js';
import { eliminateCommonSubexpressions } from '#src/compile/simplify.js';
import type { Graph } from '#src/graph/graph.js';
import {
  activation,
  add,
  crossEntropy,
  embedding,
  layerNorm,
  matmul,
  multiply,
  reshape,
  rmsNorm,
  sum,
  transpose,
} from '#src/ops/index.js';
import { firstDifference } from '../reference/compare.js';
import { graphOf, lines, randomInputs } from './graphs.js';
import { interpreted } from './run.js';

type Pass = (graph: Graph) => Graph;

/** Checks the text of a graph before and after a pass, and that both compute the same. */
function checkPass(t: ExecutionContext, pass: Pass, traced: Graph, before: string, after: string): void {
  const clean = eliminateCommonSubexpressions(traced);
  const fused = pass(clean);
  t.deepEqual(lines(printGraph(clean)), lines(before));
  t.deepEqual(lines(printGraph(fused)), lines(after));
  const inputs = randomInputs(clean, t.title);
  const [expected, found] = [clean, fused].map((graph) => interpreted(graph, { inputs }));
  t.is(firstDifference(found, expected, { rtol: 1e-12, atol: 1e-13 }), undefined);
}

/** Checks that a pass finds nothing to do in a graph. */
function checkUnchanged(t: ExecutionContext, pass: Pass, traced: Graph): void {
  const clean = eliminateCommonSubexpressions(traced);
  t.deepEqual(lines(printGraph(pass(clean))), lines(printGraph(clean)));
}

test('bias: x W + b', (t) => {
  const graph = graphOf({ x: [2, 3, 4], w: [4, 5], b: [5] }, ({ x, w, b }) => ({ y: add(matmul(x, w), b) }));
  checkPass(
    t,
    fuseBias,
    graph,
    `
    %0[6, 4] = reshape($x) {shape: 6,4}
    %1[6, 5], %2[6, 5], %3[5] = matmul(%0, $w)
    %4[2, 3, 5] = reshape(%1) {shape: 2,3,5}
    %5[2, 3, 5] = expand($b) {shape: 2,3,5}
    %6[2, 3, 5] = add(%4, %5)
    output y = %6
    `,
    `
    %0[6, 4] = reshape($x) {shape: 6,4}
    %1[6, 5], %2[6, 5], %3[5] = matmul(%0, $w, $b)
    %4[2, 3, 5] = reshape(%1) {shape: 2,3,5}
    output y = %4
    `,
  );
});

test('bias gradient: sums of dy beside the gradient of the weight', (t) => {
  const graph = graphOf({ x: [6, 4], dy: [2, 3, 5] }, ({ x, dy }) => ({
    dw: matmul(transpose(x), reshape(dy, [6, 5])),
    db: sum(dy, [0, 1]),
  }));
  checkPass(
    t,
    fuseBiasGradient,
    graph,
    `
    %0[4, 6] = permute($x) {axes: 1,0}
    %1[6, 5] = reshape($dy) {shape: 6,5}
    %2[4, 5], %3[4, 5], %4[5] = matmul(%0, %1)
    %5[1, 6, 5] = reshape($dy) {shape: 1,6,5}
    %6[1, 5] = sum(%5)
    %7[1, 1, 5] = reshape(%6) {shape: 1,1,5}
    %8[5] = reshape(%7) {shape: 5}
    output dw = %2
    output db = %8
    `,
    `
    %0[4, 6] = permute($x) {axes: 1,0}
    %1[6, 5] = reshape($dy) {shape: 6,5}
    %2[4, 5], %3[4, 5], %4[5] = matmul(%0, %1)
    %5[1, 5] = reshape(%4) {shape: 1,5}
    %6[1, 1, 5] = reshape(%5) {shape: 1,1,5}
    %7[5] = reshape(%6) {shape: 5}
    output dw = %2
    output db = %7
    `,
  );
});

test('bias gradient: a product that needs the sums stays', (t) => {
  const graph = graphOf({ x: [5, 4], b: [4, 4] }, ({ x, b }) => ({ y: matmul(add(x, sum(b, [0])), b) }));
  checkUnchanged(t, fuseBiasGradient, graph);
});

test('bias gradient: other sums stay', (t) => {
  const graph = graphOf({ x: [5, 4], dy: [5, 5] }, ({ x, dy }) => ({
    dw: matmul(transpose(x), dy),
    rows: sum(dy, [1]),
    other: sum(x, [0]),
  }));
  checkUnchanged(t, fuseBiasGradient, graph);
});

test('bias: a column or a product that is read twice stays', (t) => {
  const graph = graphOf({ x: [3, 4], w: [4, 5], b: [3, 1], c: [5] }, ({ x, w, b, c }) => {
    const product = matmul(x, w);
    return { y: add(product, b), z: add(product, c) };
  });
  checkPass(
    t,
    fuseBias,
    graph,
    `
    %0[3, 5], %1[3, 5], %2[5] = matmul($x, $w)
    %3[3, 5] = expand($b) {shape: 3,5}
    %4[3, 5] = add(%0, %3)
    %5[3, 5] = expand($c) {shape: 3,5}
    %6[3, 5] = add(%0, %5)
    output y = %4
    output z = %6
    `,
    `
    %0[3, 5], %1[3, 5], %2[5] = matmul($x, $w)
    %3[3, 5] = expand($b) {shape: 3,5}
    %4[3, 5] = add(%0, %3)
    %5[3, 5] = expand($c) {shape: 3,5}
    %6[3, 5] = add(%0, %5)
    output y = %4
    output z = %6
    `,
  );
});

test('activation: kind(x W + b), with z kept where it is read', (t) => {
  const graph = fuseBias(
    graphOf({ x: [2, 3, 4], w: [4, 5], b: [5] }, ({ x, w, b }) => {
      const z = add(matmul(x, w), b);
      return { y: activation(z, 'gelu'), z: multiply(z, z) };
    }),
  );
  checkPass(
    t,
    fuseActivation,
    graph,
    `
    %0[6, 4] = reshape($x) {shape: 6,4}
    %1[6, 5], %2[6, 5], %3[5] = matmul(%0, $w, $b)
    %4[2, 3, 5] = reshape(%1) {shape: 2,3,5}
    %5[2, 3, 5] = activation(%4) {kind: gelu}
    %6[2, 3, 5] = multiply(%4, %4)
    output y = %5
    output z = %6
    `,
    `
    %0[6, 4] = reshape($x) {shape: 6,4}
    %1[6, 5], %2[6, 5], %3[5] = matmul(%0, $w, $b) {epilogue: activation, kind: gelu}
    %4[2, 3, 5] = reshape(%1) {shape: 2,3,5}
    %5[2, 3, 5] = reshape(%2) {shape: 2,3,5}
    %6[2, 3, 5] = multiply(%5, %5)
    output y = %4
    output z = %6
    `,
  );
});

test("activation backward: (dy W^T) kind'(z)", (t) => {
  const graph = graphOf({ x: [3, 4], w: [4, 5], dy: [3, 5] }, ({ x, w, dy }) => {
    const y = matmul(activation(x, 'silu'), w);
    const [dx] = gradients(multiply(y, dy), [x]);
    return { dx: dx! };
  });
  checkPass(
    t,
    fuseActivationBackward,
    graph,
    `
    %0[3, 5] = fill() {value: 1, shape: 3,5}
    %1[3, 5] = multiply(%0, $dy)
    %2[5, 4] = permute($w) {axes: 1,0}
    %3[3, 4], %4[3, 4], %5[4] = matmul(%1, %2)
    %6[3, 4] = activation_backward($x, %3) {kind: silu}
    output dx = %6
    `,
    `
    %0[3, 5] = fill() {value: 1, shape: 3,5}
    %1[3, 5] = multiply(%0, $dy)
    %2[5, 4] = permute($w) {axes: 1,0}
    %3[3, 4], %4[3, 4], %5[4] = matmul(%1, %2, -, -, $x) {epilogue: activation_backward, kind: silu}
    output dx = %3
    `,
  );
});

test('addend: residual + x W', (t) => {
  const graph = graphOf({ x: [2, 3, 4], w: [4, 4] }, ({ x, w }) => ({ y: add(x, matmul(x, w)) }));
  checkPass(
    t,
    fuseAddend,
    graph,
    `
    %0[6, 4] = reshape($x) {shape: 6,4}
    %1[6, 4], %2[6, 4], %3[4] = matmul(%0, $w)
    %4[2, 3, 4] = reshape(%1) {shape: 2,3,4}
    %5[2, 3, 4] = add($x, %4)
    output y = %5
    `,
    `
    %0[6, 4] = reshape($x) {shape: 6,4}
    %1[6, 4] = reshape($x) {shape: 6,4}
    %2[6, 4], %3[6, 4], %4[4] = matmul(%0, $w, -, %1)
    %5[2, 3, 4] = reshape(%2) {shape: 2,3,4}
    output y = %5
    `,
  );
});

test('residual norm: the sum is kept for its other reader', (t) => {
  const graph = graphOf({ x: [3, 4], branch: [3, 4], w: [4], b: [4] }, ({ x, branch, w, b }) => {
    const sum = add(x, branch);
    return { y: multiply(sum, layerNorm(sum, w, b)) };
  });
  checkPass(
    t,
    fuseResidualNorm,
    graph,
    `
    %0[3, 4] = add($x, $branch)
    %1[3, 4], %2[3], %3[3], %4[3, 4] = layer_norm(%0, $w, $b) {epsilon: 0.00001}
    %5[3, 4] = multiply(%0, %1)
    output y = %5
    `,
    `
    %0[3, 4], %1[3], %2[3], %3[3, 4] = layer_norm($x, $w, $b, $branch) {epsilon: 0.00001}
    %4[3, 4] = multiply(%3, %0)
    output y = %4
    `,
  );
});

test('residual norm: a projection keeps its residual', (t) => {
  const graph = graphOf({ x: [3, 4], w: [4, 4], g: [4] }, ({ x, w, g }) => ({
    y: rmsNorm(add(x, matmul(x, w)), g),
  }));
  checkPass(
    t,
    fuseResidualNorm,
    graph,
    `
    %0[3, 4], %1[3, 4], %2[4] = matmul($x, $w)
    %3[3, 4] = add($x, %0)
    %4[3, 4], %5[3], %6[3, 4] = rms_norm(%3, $g) {epsilon: 0.00001}
    output y = %4
    `,
    `
    %0[3, 4], %1[3, 4], %2[4] = matmul($x, $w)
    %3[3, 4] = add($x, %0)
    %4[3, 4], %5[3], %6[3, 4] = rms_norm(%3, $g) {epsilon: 0.00001}
    output y = %4
    `,
  );
});

test('norm backward: the gradient of the residual joins', (t) => {
  const graph = graphOf({ x: [3, 4], w: [4], dy: [3, 4] }, ({ x, w, dy }) => {
    const y = multiply(add(x, rmsNorm(x, w)), dy);
    const [dx, dw] = gradients(y, [x, w]);
    return { dx: dx!, dw: dw! };
  });
  checkPass(
    t,
    fuseNormBackward,
    graph,
    `
    %0[3, 4] = fill() {value: 1, shape: 3,4}
    %1[3, 4] = multiply(%0, $dy)
    %2[3, 4], %3[3], %4[3, 4] = rms_norm($x, $w) {epsilon: 0.00001}
    %5[3, 4], %6[4] = rms_norm_backward($x, $w, %3, %1)
    %7[3, 4] = add(%1, %5)
    output dx = %7
    output dw = %6
    `,
    `
    %0[3, 4], %1[3], %2[3, 4] = rms_norm($x, $w) {epsilon: 0.00001}
    %3[3, 4] = fill() {value: 1, shape: 3,4}
    %4[3, 4] = multiply(%3, $dy)
    %5[3, 4], %6[4] = rms_norm_backward($x, $w, %1, %4, %4)
    output dx = %5
    output dw = %6
    `,
  );
});

test('embedding backward: a tied classifier wrote first', (t) => {
  const graph = graphOf({ ids: [3], table: [5, 4], dy: [3, 5] }, ({ ids, table, dy }) => {
    const logits = matmul(embedding(ids, table), transpose(table));
    const [dtable] = gradients(multiply(logits, dy), [table]);
    return { dtable: dtable! };
  });
  checkPass(
    t,
    fuseEmbeddingBackward,
    graph,
    `
    %0[3, 4] = embedding($ids, $table)
    %1[4, 3] = permute(%0) {axes: 1,0}
    %2[3, 5] = fill() {value: 1, shape: 3,5}
    %3[3, 5] = multiply(%2, $dy)
    %4[4, 5], %5[4, 5], %6[5] = matmul(%1, %3)
    %7[5, 4] = permute(%4) {axes: 1,0}
    %8[4, 5] = permute($table) {axes: 1,0}
    %9[5, 4] = permute(%8) {axes: 1,0}
    %10[3, 4], %11[3, 4], %12[4] = matmul(%3, %9)
    %13[5, 4] = embedding_backward($ids, %10) {rows: 5}
    %14[5, 4] = add(%7, %13)
    output dtable = %14
    `,
    `
    %0[3, 5] = fill() {value: 1, shape: 3,5}
    %1[3, 5] = multiply(%0, $dy)
    %2[4, 5] = permute($table) {axes: 1,0}
    %3[5, 4] = permute(%2) {axes: 1,0}
    %4[3, 4], %5[3, 4], %6[4] = matmul(%1, %3)
    %7[3, 4] = embedding($ids, $table)
    %8[4, 3] = permute(%7) {axes: 1,0}
    %9[4, 5], %10[4, 5], %11[5] = matmul(%8, %1)
    %12[5, 4] = permute(%9) {axes: 1,0}
    %13[5, 4] = embedding_backward($ids, %4, %12) {rows: 5}
    output dtable = %13
    `,
  );
});

test('cross entropy: the gradient of a plain sum comes with the loss', (t) => {
  const graph = graphOf({ logits: [3, 5], ids: [3] }, ({ logits, ids }) => {
    const { lossSum } = crossEntropy(logits, ids, 0.1);
    const [dlogits] = gradients(lossSum, [logits]);
    return { lossSum, dlogits: dlogits! };
  });
  checkPass(
    t,
    fuseCrossEntropy,
    graph,
    `
    %0[3], %1[3], %2[3, 5] = softmax_cross_entropy($logits, $ids) {label_smoothing: 0.1}
    %3[1, 3, 1] = reshape(%0) {shape: 1,3,1}
    %4[1, 1] = sum(%3)
    %5[1] = reshape(%4) {shape: 1}
    %6[] = reshape(%5) {shape: }
    %7[1] = reshape(%6) {shape: 1}
    %8[1] = fill() {value: 1, shape: 1}
    %9[] = reshape(%8) {shape: }
    %10[1] = reshape(%9) {shape: 1}
    %11[1, 1] = reshape(%10) {shape: 1,1}
    %12[1, 1, 1] = reshape(%11) {shape: 1,1,1}
    %13[1, 3, 1] = expand(%12) {shape: 1,3,1}
    %14[3] = reshape(%13) {shape: 3}
    %15[3, 5] = softmax_cross_entropy_backward($logits, $ids, %1, %14) {label_smoothing: 0.1}
    output lossSum = %7
    output dlogits = %15
    `,
    `
    %0[3], %1[3], %2[3, 5] = softmax_cross_entropy($logits, $ids) {label_smoothing: 0.1}
    %3[1, 3, 1] = reshape(%0) {shape: 1,3,1}
    %4[1, 1] = sum(%3)
    %5[1] = reshape(%4) {shape: 1}
    %6[] = reshape(%5) {shape: }
    %7[1] = reshape(%6) {shape: 1}
    output lossSum = %7
    output dlogits = %2
    `,
  );
});

test('cross entropy: a loss that is weighed keeps a backward kernel of its own', (t) => {
  const graph = graphOf({ logits: [3, 5], ids: [3], w: [1] }, ({ logits, ids, w }) => {
    const { lossSum } = crossEntropy(logits, ids);
    const [dlogits] = gradients(sum(multiply(lossSum, w)), [logits]);
    return { dlogits: dlogits! };
  });
  checkPass(
    t,
    fuseCrossEntropy,
    graph,
    `
    %0[3], %1[3], %2[3, 5] = softmax_cross_entropy($logits, $ids)
    %3[] = fill() {value: 1, shape: }
    %4[1] = reshape(%3) {shape: 1}
    %5[1, 1] = reshape(%4) {shape: 1,1}
    %6[1, 1, 1] = reshape(%5) {shape: 1,1,1}
    %7[1] = reshape(%6) {shape: 1}
    %8[1] = multiply(%7, $w)
    %9[] = reshape(%8) {shape: }
    %10[1] = reshape(%9) {shape: 1}
    %11[1, 1] = reshape(%10) {shape: 1,1}
    %12[1, 1, 1] = reshape(%11) {shape: 1,1,1}
    %13[1, 3, 1] = expand(%12) {shape: 1,3,1}
    %14[3] = reshape(%13) {shape: 3}
    %15[3, 5] = softmax_cross_entropy_backward($logits, $ids, %1, %14)
    output dlogits = %15
    `,
    `
    %0[3], %1[3], %2[3, 5] = softmax_cross_entropy($logits, $ids)
    %3[] = fill() {value: 1, shape: }
    %4[1] = reshape(%3) {shape: 1}
    %5[1, 1] = reshape(%4) {shape: 1,1}
    %6[1, 1, 1] = reshape(%5) {shape: 1,1,1}
    %7[1] = reshape(%6) {shape: 1}
    %8[1] = multiply(%7, $w)
    %9[] = reshape(%8) {shape: }
    %10[1] = reshape(%9) {shape: 1}
    %11[1, 1] = reshape(%10) {shape: 1,1}
    %12[1, 1, 1] = reshape(%11) {shape: 1,1,1}
    %13[1, 3, 1] = expand(%12) {shape: 1,3,1}
    %14[3] = reshape(%13) {shape: 3}
    %15[3, 5] = softmax_cross_entropy_backward($logits, $ids, %1, %14)
    output dlogits = %15
    `,
  );
});
