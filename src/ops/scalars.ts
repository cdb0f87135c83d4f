/**
 * Numbers that change from run to run without a new program. They travel as float64 in this order; kernels read them
 * from device memory by the Scalar enumeration of native/ops.h.
 */
export const scalars = [
  'learningRate',
  'seed',
  'step',
  'microStep',
  'rowOffset',
  'temperature',
  'topK',
  'topP',
] as const;
export type ScalarName = (typeof scalars)[number];
