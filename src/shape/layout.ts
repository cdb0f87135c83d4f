import { contiguousStrides, type Shape } from './shape.js';

/** Where the elements of a view lie within the tensor it looks at. Offset and strides count elements. */
export interface Layout {
  readonly offset: number;
  readonly strides: readonly number[];
}

export const contiguousLayout = (shape: Shape): Layout => ({ offset: 0, strides: contiguousStrides(shape) });

/** How regular a kernel needs an operand: any strides, innermost stride 1, or row-major without gaps. */
export type Regularity = 'strided' | 'rows' | 'contiguous';

export function satisfies(layout: Layout, shape: Shape, regularity: Regularity): boolean {
  if (regularity === 'strided') return true;
  const last = shape.length - 1;
  if (regularity === 'rows') return last < 0 || shape[last] === 1 || layout.strides[last] === 1;
  const expected = contiguousStrides(shape);
  return shape.every((extent, axis) => extent === 1 || layout.strides[axis] === expected[axis]);
}

export function permuteLayout(layout: Layout, axes: readonly number[]): Layout {
  return { offset: layout.offset, strides: axes.map((axis) => layout.strides[axis]) };
}

export function sliceLayout(layout: Layout, axis: number, start: number): Layout {
  return { offset: layout.offset + start * layout.strides[axis], strides: layout.strides };
}

/** Repeats axes of extent 1 (and adds leading ones) by stride 0. */
export function expandLayout(layout: Layout, from: Shape, to: Shape): Layout {
  const shift = to.length - from.length;
  return {
    offset: layout.offset,
    strides: to.map((extent, axis) => {
      const source = axis - shift;
      return source < 0 || (from[source] === 1 && extent !== 1) ? 0 : layout.strides[source];
    }),
  };
}

/** The layout of the same elements under another shape, or undefined where only a copy can give it. */
export function reshapeLayout(layout: Layout, from: Shape, to: Shape): Layout | undefined {
  const groups: { extent: number; stride: number }[] = []; // maximal runs of axes that are contiguous together
  from.forEach((extent, axis) => {
    if (extent === 1) return;
    const last = groups.at(-1);
    if (last && last.stride === extent * layout.strides[axis]) {
      last.extent *= extent;
      last.stride = layout.strides[axis];
    } else {
      groups.push({ extent, stride: layout.strides[axis] });
    }
  });
  const strides = new Array<number>(to.length).fill(0);
  let axis = to.length - 1;
  for (const group of groups.reverse()) {
    let remaining = group.extent;
    let stride = group.stride;
    while (remaining > 1) {
      if (axis < 0 || remaining % to[axis] !== 0) return undefined;
      strides[axis] = stride;
      stride *= to[axis];
      remaining /= to[axis--];
    }
  }
  for (let inner = to.length - 1, stride = 1; inner >= 0; inner--) {
    if (to[inner] === 1) strides[inner] = stride;
    else stride = strides[inner] * to[inner];
  }
  return { offset: layout.offset, strides };
}
