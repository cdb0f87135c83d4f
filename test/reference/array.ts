import type { Attributes } from '#src/graph/op.js';
import type { ScalarName } from '#src/ops/scalars.js';
import type { DType } from '#src/shape/dtype.js';
import { type Shape, sizeOf } from '#src/shape/shape.js';

/** Row-major numbers: float64 wherever a kernel has a floating-point type, int32 for integers. */
export interface NumberArray {
  readonly shape: Shape;
  readonly data: Float64Array | Int32Array;
}

/** What the definition of an op is given. Inputs that it writes in place are copies it may change. */
export interface ReferenceCall {
  readonly inputs: readonly (NumberArray | undefined)[];
  /** Shapes of the outputs, for ops whose inputs do not tell. */
  readonly outputShapes: readonly Shape[];
  readonly attributes: Attributes;
  readonly scalars: Readonly<Record<ScalarName, number>>;
}

/** Plain float64 code for one op: all its outputs, also those a kernel may leave out. */
export type Definition = (call: ReferenceCall) => NumberArray[];
export type Definitions = Readonly<Record<string, Definition>>;

/** The bf16 number next to a value, ties to even, as native/numeric.h rounds. */
export function roundToBf16(value: number): number {
  if (!Number.isFinite(value)) return value;
  const spacing = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(value)))) - 7);
  const steps = value / spacing;
  const down = Math.floor(steps);
  const up = steps - down > 0.5 || (steps - down === 0.5 && down % 2 !== 0);
  const rounded = (down + (up ? 1 : 0)) * spacing;
  return Math.abs(rounded) >= 2 ** 128 ? Math.sign(value) * Number.POSITIVE_INFINITY : rounded;
}

/** Numbers as an array of this dtype holds them. */
export function rounded(data: NumberArray['data'], dtype: DType): NumberArray['data'] {
  return dtype === 'bf16' ? data.map(roundToBf16) : data;
}

export const floats = (shape: Shape): { shape: Shape; data: Float64Array } => ({
  shape,
  data: new Float64Array(sizeOf(shape)),
});

export const integers = (shape: Shape): { shape: Shape; data: Int32Array } => ({
  shape,
  data: new Int32Array(sizeOf(shape)),
});

/** An array of `values`; a missing value is a mistake of the test. */
export function arrayOf(shape: Shape, dtype: DType, values: ArrayLike<number>): NumberArray {
  if (values.length !== sizeOf(shape)) {
    throw new Error(`${values.length} values where the shape [${shape}] holds ${sizeOf(shape)}`);
  }
  return { shape, data: dtype === 'i32' ? Int32Array.from(values) : Float64Array.from(values) };
}

export const copyOf = ({ shape, data }: NumberArray): NumberArray => ({ shape, data: data.slice() });

/** Extent of the last axis, and the number of rows before it. */
export const columnsOf = ({ shape }: NumberArray): number => shape.at(-1)!;
export const rowsOf = (array: NumberArray): number => sizeOf(array.shape.slice(0, -1));

/** An array of the shape of `x` with f(index) in each place. */
export function fill(shape: Shape, f: (index: number) => number): NumberArray {
  const result = floats(shape);
  for (let index = 0; index < result.data.length; index++) result.data[index] = f(index);
  return result;
}
