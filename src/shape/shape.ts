import { ShapeError } from '../errors.js';

/** Extents, outermost first. Always row-major unless a layout says otherwise. */
export type Shape = readonly number[];

export const maxRank = 6;

/** Number of elements. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((extent, axis) => extent === b[axis]);

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/** The common shape of two operands under NumPy's broadcasting rules. */
export function broadcastShapes(a: Shape, b: Shape, what = 'broadcast'): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) {
      throw new ShapeError(`${what}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast`, {
        a,
        b,
      });
    }
    return left === 1 ? right : left;
  });
}

/** Turns a possibly negative axis into a non-negative one. */
export function normaliseAxis(axis: number, rank: number, what: string): number {
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normal < 0 || normal >= rank) {
    throw new ShapeError(`${what}: axis ${axis} is out of range for rank ${rank}`, { axis, rank });
  }
  return normal;
}
