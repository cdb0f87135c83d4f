/** Element types. The order is the native enumeration of native/kernel.h. */
export const dtypes = ['f32', 'bf16', 'i32', 'u8'] as const;
export type DType = (typeof dtypes)[number];

/** float32 throughout, or bf16 matrices and activations beside float32 masters, statistics, losses and optimizer state. */
export const precisions = ['float32', 'bf16'] as const;
export type Precision = (typeof precisions)[number];

const sizes: Record<DType, number> = { f32: 4, bf16: 2, i32: 4, u8: 1 };

/** Bytes of one element. */
export const dtypeBytes = (dtype: DType): number => sizes[dtype];
