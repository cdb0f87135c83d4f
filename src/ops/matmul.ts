import { ShapeError } from '../errors.js';
import { defineOp, type OpCall } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { formatShape, sizeOf } from '../shape/shape.js';
import { activationKinds } from './pointwise.js';
import { expand, reshape, transpose } from './view.js';

/** What happens to a tile of the product before it is written. */
export const epilogues = ['none', 'activation', 'activation_backward'] as const;

/**
 * y = epilogue(a b + bias + addend). Transposed operands are views, so one kernel serves forward and both gradients.
 * Epilogue `activation` writes kind(z) to y and, where somebody reads it, z to `preactivation`;
 * `activation_backward` multiplies by kind'(input preactivation). The optional inputs and the epilogue are put there by
 * compile/fuse.ts.
 */
export const matmulOp = defineOp('matmul', {
  inputs: {
    a: '* M K strided',
    b: '* K N strided',
    bias: 'N ?',
    addend: '* M N rows ?',
    preactivation: '* M N rows ?',
  },
  outputs: { y: '* M N rows', preactivation_output: '* M N rows' },
  attributes: { epilogue: epilogues, kind: activationKinds },
  reuse: { y: ['addend', 'preactivation'] },
  gradient: ({ inputs: [a, b] }, [dy]) =>
    dy ? [product(dy, transpose(b!)), product(transpose(a!), dy)] : [],
  cost: ({ inputs: [a], outputs: [y] }) => ({ flops: 2 * sizeOf(y.shape) * a!.shape.at(-1)! }),
  workspace: matmulWorkspace,
});

/** Packed panels of b, at most 8 MiB at a time; native/cpu/matmul.cc blocks by what it is given. */
function matmulWorkspace({ inputs: [, b] }: OpCall): number {
  const [k, n] = b!.shape.slice(-2);
  const padded = Math.ceil(n / 64) * 64 * k * 4;
  return Math.min(padded, Math.max(8 << 20, 64 * 4 * Math.min(k, 512)));
}

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
