import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { normaliseAxis, type Shape, sizeOf } from '../shape/shape.js';
import { scale } from './pointwise.js';
import { cast, expand, reshape } from './view.js';

export const sumOp = defineOp('sum', {
  inputs: { x: 'A R B real' },
  outputs: { y: 'A B result' },
  gradient: ({ inputs: [x] }, [dy]) => {
    const [outer, , inner] = x!.shape;
    return [dy && expand(reshape(cast(dy, x!.dtype), [outer, 1, inner]), x!.shape)];
  },
  cost: ({ inputs: [x] }) => ({ flops: sizeOf(x!.shape) }),
  // Partial sums of row blocks, added in a fixed order (native/cpu/reduce.cc: 64 blocks at most, of a row at least).
  workspace: ({ inputs: [x], outputs: [y] }) => Math.min(64, x!.shape[1]) * 4 * sizeOf(y.shape),
});

/** Sum over `axes` (default: all). The summed axes vanish unless `keepAxes`. */
export function sum(x: Operand, axes?: readonly number[], keepAxes = false): Tensor {
  let tensor = toTensor(x);
  const all = tensor.shape.map((_, axis) => axis);
  const normal = [...new Set((axes ?? all).map((axis) => normaliseAxis(axis, all.length, 'sum')))].sort(
    (a, b) => b - a,
  );
  const kept = tensor.shape.map((extent, axis) => (normal.includes(axis) ? 1 : extent));
  for (let index = 0; index < normal.length; ) {
    let last = index; // neighbouring axes are summed together
    while (last + 1 < normal.length && normal[last + 1] === normal[last] - 1) last++;
    const [high, low] = [normal[index], normal[last]];
    const { shape } = tensor;
    const inner = shape.slice(high + 1);
    const parts = [shape.slice(0, low), shape.slice(low, high + 1), inner].map(sizeOf);
    const ones = new Array<number>(high - low + 1).fill(1);
    tensor = reshape(sumOp([reshape(tensor, parts)])[0], [...shape.slice(0, low), ...ones, ...inner]);
    index = last + 1;
  }
  return reshape(tensor, keepAxes ? kept : kept.filter((_, axis) => !normal.includes(axis)));
}

/** Mean over `axes` (default: all). */
export function mean(x: Operand, axes?: readonly number[], keepAxes = false): Tensor {
  const tensor = toTensor(x);
  const total = sum(tensor, axes, keepAxes);
  return scale(total, sizeOf(total.shape) / sizeOf(tensor.shape));
}

/** Sums a gradient over the axes along which `shape` was broadcast to the gradient's shape. */
export function sumTo(gradient: Tensor, shape: Shape): Tensor {
  const shift = gradient.rank - shape.length;
  const axes = gradient.shape.flatMap((extent, axis) =>
    axis < shift || (shape[axis - shift] === 1 && extent !== 1) ? [axis] : [],
  );
  return axes.length ? reshape(sum(gradient, axes), shape) : reshape(gradient, shape);
}

const softmaxOp = defineOp('softmax', {
  inputs: { x: '* C' },
  outputs: { y: '* C' },
  reuse: { y: ['x'] },
  gradient: ({ outputs: [y] }, [dy]) => [dy && softmaxBackwardOp([y, dy])[0]],
  cost: ({ inputs: [x] }) => ({ flops: 5 * sizeOf(x!.shape) }),
});

const softmaxBackwardOp = defineOp('softmax_backward', {
  inputs: { y: '* C', dy: '* C' },
  outputs: { dx: '* C' },
  reuse: { dx: ['y', 'dy'] },
  cost: ({ inputs: [y] }) => ({ flops: 4 * sizeOf(y!.shape) }),
});

/** Softmax over the last axis. */
export const softmax = (x: Operand): Tensor => softmaxOp([x])[0];
