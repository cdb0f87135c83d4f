import { ShapeError } from '../errors.js';
import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import type { DType } from '../shape/dtype.js';
import { expandLayout, permuteLayout, reshapeLayout, sliceLayout } from '../shape/layout.js';
import { formatShape, normaliseAxis, type Shape, sameShape, sizeOf } from '../shape/shape.js';
import { sumTo } from './reduce.js';

// View ops have no kernel: the compiler turns them into offsets and strides. Attributes are lists of integers.

const list = (value: unknown) => value as readonly number[];

const reshapeOp = defineOp('reshape', {
  infer: (_, { shape }) => [list(shape)],
  view: (layout, from, to) => reshapeLayout(layout, from, to),
  gradient: ({ inputs: [x] }, [dy]) => [dy && reshape(dy, x!.shape)],
});

const permuteOp = defineOp('permute', {
  infer: ([x], { axes }) => [list(axes).map((axis) => x.shape[axis])],
  view: (layout, _from, _to, { axes }) => permuteLayout(layout, list(axes)),
  gradient: ({ attributes: { axes } }, [dy]) => {
    const inverse = list(axes).map((_, axis) => list(axes).indexOf(axis));
    return [dy && permute(dy, inverse)];
  },
});

const expandOp = defineOp('expand', {
  infer: (_, { shape }) => [list(shape)],
  view: (layout, from, to) => expandLayout(layout, from, to),
  gradient: ({ inputs: [x] }, [dy]) => [dy && sumTo(dy, x!.shape)],
});

const splitOp = defineOp('split', {
  infer: ([x], { axis, sizes }) =>
    list(sizes).map((size) => x.shape.map((extent, other) => (other === axis ? size : extent))),
  view: (layout, _from, _to, { axis, sizes }, index) => {
    const start = list(sizes)
      .slice(0, index)
      .reduce((sum, size) => sum + size, 0);
    return sliceLayout(layout, axis as number, start);
  },
  gradient: ({ attributes: { axis }, outputs }, gradients) => [
    concat(
      gradients.map((gradient, index) => gradient ?? zeros(outputs[index].shape, outputs[index])),
      axis as number,
    ),
  ],
});

/** Lays tensors one after the other. The compiler lets producers write into their part where it can. */
const concatOp = defineOp('concat', {
  infer: (inputs, { axis }) => [
    inputs[0].shape.map((extent, other) =>
      other === axis ? inputs.reduce((sum, input) => sum + input.shape[other], 0) : extent,
    ),
  ],
  view: () => undefined,
  gradient: ({ inputs, attributes: { axis } }, [dy]) => {
    const sizes = inputs.map((input) => input!.shape[axis as number]);
    return dy ? split(dy, sizes, axis as number) : [];
  },
});

const fillOp = defineOp('fill', {
  outputs: { y: '* result strided' },
  attributes: { value: 'f32' },
  bind: ({ shape }) => ({ leading: list(shape) }),
});

/** Copies between layouts; the compiler inserts it where a kernel needs a more regular operand. */
export const copyOp = defineOp('copy', {
  inputs: { x: '* any strided' },
  outputs: { y: '* any strided' },
  gradient: (_, [dy]) => [dy],
});

const castOp = defineOp('cast', {
  inputs: { x: '* real' },
  outputs: { y: '* result' },
  gradient: ({ inputs: [x] }, [dy]) => [dy && cast(dy, x!.dtype)],
  cost: ({ inputs: [x] }) => ({ flops: sizeOf(x!.shape) }),
});

/** The same numbers as float32 or as bf16, rounded to the nearest, ties to even. */
export function cast(x: Operand, dtype: DType): Tensor {
  const tensor = toTensor(x);
  return tensor.dtype === dtype ? tensor : castOp([tensor], { result: dtype })[0];
}

/** A constant tensor, float32 or of the dtype of `like`, which names the graph too; inside forward() it may be left out. */
export function full(shape: Shape, value: number, like?: Tensor): Tensor {
  const attributes = { value, shape, ...(like?.dtype === 'bf16' ? { result: 'bf16' } : {}) };
  return like ? (like.graph.append(fillOp, [], attributes).outputs[0] as Tensor) : fillOp([], attributes)[0];
}
export const zeros = (shape: Shape, like?: Tensor): Tensor => full(shape, 0, like);

/** The same elements under another shape; one extent may be -1. */
export function reshape(x: Operand, shape: Shape): Tensor {
  const tensor = toTensor(x);
  const unknown = shape.indexOf(-1);
  const resolved = [...shape];
  if (unknown >= 0) resolved[unknown] = -sizeOf(tensor.shape) / sizeOf(shape);
  if (sizeOf(resolved) !== sizeOf(tensor.shape) || !resolved.every(Number.isInteger)) {
    throw new ShapeError(`reshape: ${formatShape(tensor.shape)} does not fit into ${formatShape(shape)}`);
  }
  return sameShape(resolved, tensor.shape) ? tensor : reshapeOp([tensor], { shape: resolved })[0];
}

/** Reorders axes: axis i of the result is axis axes[i] of x. */
export function permute(x: Operand, axes: readonly number[]): Tensor {
  const tensor = toTensor(x);
  const normal = axes.map((axis) => normaliseAxis(axis, tensor.rank, 'permute'));
  if (new Set(normal).size !== tensor.rank) {
    throw new ShapeError(`permute: [${axes}] is no permutation of ${tensor.rank} axes`);
  }
  return permuteOp([tensor], { axes: normal })[0];
}

/** Swaps two axes, by default the last two. */
export function transpose(x: Operand, first = -2, second = -1): Tensor {
  const tensor = toTensor(x);
  const axes = tensor.shape.map((_, axis) => axis);
  const [a, b] = [first, second].map((axis) => normaliseAxis(axis, tensor.rank, 'transpose'));
  [axes[a], axes[b]] = [b, a];
  return permute(tensor, axes);
}

/** Repeats axes of extent 1, and adds leading ones, until the shape is `shape`. */
export function expand(x: Operand, shape: Shape): Tensor {
  const tensor = toTensor(x);
  const shift = shape.length - tensor.rank;
  const fits = tensor.shape.every((extent, axis) => extent === 1 || extent === shape[axis + shift]);
  if (shift < 0 || !fits) {
    throw new ShapeError(`expand: ${formatShape(tensor.shape)} does not expand to ${formatShape(shape)}`);
  }
  return sameShape(shape, tensor.shape) ? tensor : expandOp([tensor], { shape: [...shape] })[0];
}

/** Cuts an axis into parts of the given sizes. */
export function split(x: Operand, sizes: readonly number[], axis = -1): Tensor[] {
  const tensor = toTensor(x);
  const normal = normaliseAxis(axis, tensor.rank, 'split');
  if (sizes.reduce((sum, size) => sum + size, 0) !== tensor.shape[normal]) {
    throw new ShapeError(`split: sizes [${sizes}] do not add up to ${tensor.shape[normal]}`);
  }
  return splitOp([tensor], { axis: normal, sizes: [...sizes] });
}

/** Elements start <= index < end of one axis. */
export function slice(x: Operand, axis: number, start: number, end: number): Tensor {
  const tensor = toTensor(x);
  const normal = normaliseAxis(axis, tensor.rank, 'slice');
  const extent = tensor.shape[normal];
  if (!(start >= 0 && start < end && end <= extent)) {
    throw new ShapeError(`slice: ${start} to ${end} is no range within axis ${axis} of extent ${extent}`);
  }
  if (start === 0 && end === extent) return tensor;
  const parts = [start, end - start, extent - end];
  const index = start > 0 ? 1 : 0;
  return split(
    tensor,
    parts.filter((size) => size > 0),
    normal,
  )[index];
}

/** Joins tensors along an axis. */
export function concat(tensors: readonly Operand[], axis = -1): Tensor {
  const known = tensors.map((tensor) => toTensor(tensor));
  const normal = normaliseAxis(axis, known[0].rank, 'concat');
  const rest = (tensor: Tensor) => tensor.shape.filter((_, other) => other !== normal);
  for (const tensor of known) {
    if (tensor.rank !== known[0].rank || !sameShape(rest(tensor), rest(known[0]))) {
      throw new ShapeError(
        `concat: shapes ${known.map(({ shape }) => formatShape(shape)).join(' and ')} differ off axis ${axis}`,
      );
    }
  }
  return known.length === 1 ? known[0] : concatOp(known, { axis: normal })[0];
}
