import { contiguousStrides, type Shape, sizeOf } from '#src/shape/shape.js';
import { copyOf, type Definitions, fill, type NumberArray } from './array.js';

/** Places of the elements of a strided view, in row-major order. */
export function placesOf(shape: Shape, strides: readonly number[], offset: number): Int32Array {
  let places = Int32Array.of(offset);
  shape.forEach((extent, axis) => {
    const next = new Int32Array(places.length * extent);
    places.forEach((base, index) => {
      for (let i = 0; i < extent; i++) next[index * extent + i] = base + i * strides[axis];
    });
    places = next;
  });
  return places;
}

/** The elements of `x` that a strided view looks at. */
function gather(x: NumberArray, shape: Shape, strides: readonly number[], offset = 0): NumberArray {
  const places = placesOf(shape, strides, offset);
  const element = (_: unknown, index: number) => x.data[places[index]];
  const length = places.length;
  const data =
    x.data instanceof Int32Array
      ? Int32Array.from({ length }, element)
      : Float64Array.from({ length }, element);
  return { shape, data };
}

const list = (value: unknown) => value as readonly number[];

/** View ops are no kernels, but they too have a plain meaning. */
export const views: Definitions = {
  reshape: ({ inputs: [x], outputShapes: [shape] }) => [{ shape, data: x!.data }],
  permute: ({ inputs: [x], outputShapes: [shape], attributes: { axes } }) => {
    const strides = contiguousStrides(x!.shape);
    return [
      gather(
        x!,
        shape,
        list(axes).map((axis) => strides[axis]),
      ),
    ];
  },
  expand: ({ inputs: [x], outputShapes: [shape] }) => {
    const shift = shape.length - x!.shape.length;
    const strides = contiguousStrides(x!.shape);
    const repeated = shape.map((_, axis) => (x!.shape[axis - shift] > 1 ? strides[axis - shift] : 0));
    return [gather(x!, shape, repeated)];
  },
  split: ({ inputs: [x], outputShapes, attributes }) => {
    const axis = attributes.axis as number;
    const strides = contiguousStrides(x!.shape);
    let start = 0;
    return outputShapes.map((shape) => {
      start += shape[axis];
      return gather(x!, shape, strides, (start - shape[axis]) * strides[axis]);
    });
  },
  concat: ({ inputs, outputShapes: [shape], attributes }) => {
    const axis = attributes.axis as number;
    const strides = contiguousStrides(shape);
    const data =
      inputs[0]!.data instanceof Int32Array ? new Int32Array(sizeOf(shape)) : new Float64Array(sizeOf(shape));
    let start = 0;
    for (const input of inputs) {
      placesOf(input!.shape, strides, start * strides[axis]).forEach((place, index) => {
        data[place] = input!.data[index];
      });
      start += input!.shape[axis];
    }
    return [{ shape, data }];
  },
};

export const view: Definitions = {
  fill: ({ outputShapes: [shape], attributes: { value } }) => [fill(shape, () => value as number)],
  copy: ({ inputs: [x] }) => [copyOf(x!)],
  // Whoever writes a bf16 value rounds it.
  cast: ({ inputs: [x] }) => [copyOf(x!)],
};
