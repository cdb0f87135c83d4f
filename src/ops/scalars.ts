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
  'minP',
  'typicalP',
  'repetitionPenalty',
  'noRepeatNgramSize',
] as const;
export type ScalarName = (typeof scalars)[number];

const defaults: Readonly<Record<ScalarName, number>> = {
  learningRate: 0,
  seed: 0,
  step: 0,
  microStep: 0,
  rowOffset: 0,
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  noRepeatNgramSize: 0,
};

/** The scalars of a run as native code reads them; what is not given keeps its default. */
export function encodeScalars(values: Partial<Record<ScalarName, number>>): Float64Array {
  // A loop, since this is done for every step and `from` with a function takes three times as long.
  const encoded = new Float64Array(scalars.length);
  for (let index = 0; index < scalars.length; index++) {
    const name = scalars[index];
    encoded[index] = values[name] ?? defaults[name];
  }
  return encoded;
}
