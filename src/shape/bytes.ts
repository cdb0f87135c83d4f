import { type DType, dtypeBytes } from './dtype.js';
import { type Shape, sizeOf } from './shape.js';

/** Bytes that a value takes where its elements lie one after the other. */
export const byteSizeOf = ({ shape, dtype }: { readonly shape: Shape; readonly dtype: DType }): number =>
  sizeOf(shape) * dtypeBytes(dtype);
