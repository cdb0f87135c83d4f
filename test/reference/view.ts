import { contiguousStrides, type Shape, sizeOf } from '#src/shape/shape.js';
import { copyOf, type Definitions, fill, type NumberArray } from './array.js';

/** Coordinates of a flat index. */
export function coordinates(index: number, shape: Shape): number[] {
  return contiguousStrides(shape).map((stride, axis) => Math.floor(index / stride) % shape[axis]);
}

const flat = (place: readonly number[], shape: Shape): number =>
  contiguousStrides(shape).reduce((index, stride, axis) => index + stride * place[axis], 0);

/** An array whose element at `place` is that of `x` at from(place). */
function gather(x: NumberArray, shape: Shape, from: (place: number[]) => readonly number[]): NumberArray {
  const data =
    x.data.slice(0, 0).constructor === Int32Array
      ? new Int32Array(sizeOf(shape))
      : new Float64Array(sizeOf(shape));
  for (let index = 0; index < data.length; index++)
    data[index] = x.data[flat(from(coordinates(index, shape)), x.shape)];
  return { shape, data };
}

const list = (value: unknown) => value as readonly number[];

/** View ops are no kernels, but they too have a plain meaning. */
export const views: Definitions = {
  reshape: ({ inputs: [x], outputShapes: [shape] }) => [{ shape, data: x!.data }],
  permute: ({ inputs: [x], outputShapes: [shape], attributes: { axes } }) => [
    gather(x!, shape, (place) => {
      const source: number[] = [];
      list(axes).forEach((axis, index) => {
        source[axis] = place[index];
      });
      return source;
    }),
  ],
  expand: ({ inputs: [x], outputShapes: [shape] }) => {
    const shift = shape.length - x!.shape.length;
    return [
      gather(x!, shape, (place) => x!.shape.map((extent, axis) => (extent === 1 ? 0 : place[axis + shift]))),
    ];
  },
  split: ({ inputs: [x], outputShapes, attributes }) => {
    const axis = attributes.axis as number;
    let start = 0;
    return outputShapes.map((shape) => {
      const begin = start;
      start += shape[axis];
      return gather(x!, shape, (place) => place.map((at, other) => (other === axis ? at + begin : at)));
    });
  },
  concat: ({ inputs, outputShapes: [shape], attributes }) => {
    const axis = attributes.axis as number;
    const element = (index: number) => {
      const place = coordinates(index, shape);
      for (const input of inputs) {
        if (place[axis] < input!.shape[axis]) return input!.data[flat(place, input!.shape)];
        place[axis] -= input!.shape[axis];
      }
      throw new Error('concat: no part holds this element');
    };
    const joined = fill(shape, element);
    return [inputs[0]!.data instanceof Int32Array ? { shape, data: Int32Array.from(joined.data) } : joined];
  },
};

export const view: Definitions = {
  fill: ({ outputShapes: [shape], attributes: { value } }) => [fill(shape, () => value as number)],
  copy: ({ inputs: [x] }) => [copyOf(x!)],
};
