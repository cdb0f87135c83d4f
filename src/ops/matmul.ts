import { ShapeError } from '../errors.js';
import { defineOp, type OpCall } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { formatShape, sizeOf } from '../shape/shape.js';
import { activationKinds } from './pointwise.js';
import { cast, expand, reshape, transpose } from './view.js';

/** What happens to a tile of the product before it is written. */
export const epilogues = ['none', 'activation', 'activation_backward'] as const;

/**
 * y = epilogue(a b + bias + addend), accumulated in float32. Transposed operands are views, so one kernel serves forward and both gradients.
 * Epilogue `activation` writes kind(z) to y and, where somebody reads it, z to `preactivation`;
 * `activation_backward` multiplies by kind'(input preactivation). `column_sums`, written where somebody reads them, are sums of
 * b over K in float32: beside the gradient of a weight they are that of its bias. The optional inputs, the epilogue and the
 * readers of column_sums are put there by compile/fuse.ts.
 */
export const matmulOp = defineOp('matmul', {
  inputs: {
    a: '* M K real strided',
    b: '* K N real strided',
    bias: 'N ?',
    addend: '* M N result rows ?',
    preactivation: '* M N result rows ?',
  },
  outputs: { y: '* M N result rows', preactivation_output: '* M N result rows', column_sums: '* N' },
  attributes: { epilogue: epilogues, kind: activationKinds },
  reuse: { y: ['addend', 'preactivation'] },
  gradient: ({ inputs: [a, b] }, [dy]) => (dy ? productGradients(a!, b!, cast(dy, a!.dtype)) : []),
  cost: ({ inputs: [a], outputs: [y] }) => ({ flops: 2 * sizeOf(y.shape) * a!.shape.at(-1)! }),
  workspace: matmulWorkspace,
});

/**
 * Bytes for panels of b (32 columns each) that the blocks of one tall product share; at most 8 MiB at a time.
 * native/cpu/matmul.cc packs as many panels as fit, and does without for short or batched products. For very few rows the sums of eight
 * parts of K (native/cpu/thin.h); where b is wider it is cut by columns alone.
 */
function matmulWorkspace({ inputs: [a, b] }: OpCall): number {
  const [m, k] = a!.shape.slice(-2);
  const n = b!.shape.at(-1)!;
  if (sizeOf(a!.shape) !== m * k) return 0;
  if (m > 168) return Math.min(4 * k * 32 * Math.ceil(n / 32), 8 << 20);
  return m <= 8 && n <= 16384 ? 4 * 8 * m * 64 * Math.ceil(n / 64) : 0;
}

const productGradients = (a: Tensor, b: Tensor, dy: Tensor) => [
  product(dy, transpose(b)),
  product(transpose(a), dy),
];

function product(a: Tensor, b: Tensor): Tensor {
  return matmulOp([a, b], { epilogue: 'none', kind: 'none' })[0];
}

/**
 * Matrix product over the last two axes: [..., M, K] by [K, N] or by [..., K, N] gives [..., M, N]. Leading axes must be
 * equal, or absent from b.
 */
export function matmul(a: Operand, b: Operand): Tensor {
  const [left, right] = [toTensor(a), toTensor(b)];
  const fail = () =>
    new ShapeError(
      `matmul: ${formatShape(left.shape)} by ${formatShape(right.shape)}: the last extent of a must be the last but one of b`,
      { a: left.shape, b: right.shape },
    );
  if (left.rank < 2 || right.rank < 2 || left.shape.at(-1) !== right.shape.at(-2)) throw fail();
  if (right.rank === 2 && left.rank > 2) {
    // Rows of all leading axes share one weight: one tall product instead of many small ones.
    const flat = product(reshape(left, [-1, left.shape.at(-1)!]), right);
    return reshape(flat, [...left.shape.slice(0, -1), right.shape[1]]);
  }
  if (left.rank < right.rank) {
    return product(expand(left, [...right.shape.slice(0, -2), ...left.shape.slice(-2)]), right);
  }
  return product(left, right);
}
