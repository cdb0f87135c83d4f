import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { sizeOf } from '../shape/shape.js';

// x and residual are added first where both are there (put there by compile/fuse.ts): `sum` is what was normalised.
// A kernel reads a whole row before it writes one, so y and sum may lie on the inputs.
const reuse = { sum: ['x', 'residual'], y: ['x', 'residual'] };
const reuseBackward = { dx: ['dy', 'dsum'] };
const perElement = (flops: number) => ({
  cost: ({ inputs: [x] }: { inputs: readonly (Tensor | undefined)[] }) => ({
    flops: flops * sizeOf(x!.shape),
  }),
});
// Column sums of row blocks, added in a fixed order (native/cpu/norm.cc: 32 blocks at most).
const columnSums = (count: number) => ({
  workspace: ({ inputs: [x] }: { inputs: readonly (Tensor | undefined)[] }) =>
    32 * count * 4 * x!.shape.at(-1)!,
});

export const layerNormOp = defineOp('layer_norm', {
  inputs: { x: '* C real', weight: 'C', bias: 'C ?', residual: '* C real ?' },
  outputs: { y: '* C real', mean: '*', rstd: '*', sum: '* C real' },
  attributes: { epsilon: 'f32' },
  reuse,
  gradient: ({ inputs: [x, weight, bias], outputs: [, mean, rstd] }, [dy]) => {
    if (!dy) return [];
    const [dx, dweight, dbias] = layerNormBackwardOp([x, weight, mean, rstd, dy]);
    return [dx, dweight, bias && dbias];
  },
  ...perElement(8),
});

/** x is what was normalised; `dsum`, where given, is added to dx (the gradient that reaches the sum elsewhere). */
export const layerNormBackwardOp = defineOp('layer_norm_backward', {
  inputs: { x: '* C real', weight: 'C', mean: '*', rstd: '*', dy: '* C real', dsum: '* C real ?' },
  outputs: { dx: '* C real', dweight: 'C', dbias: 'C' },
  reuse: reuseBackward,
  ...perElement(14),
  ...columnSums(2),
});

export const rmsNormOp = defineOp('rms_norm', {
  inputs: { x: '* C real', weight: 'C', residual: '* C real ?' },
  outputs: { y: '* C real', rstd: '*', sum: '* C real' },
  attributes: { epsilon: 'f32' },
  reuse,
  gradient: ({ inputs: [x, weight], outputs: [, rstd] }, [dy]) =>
    dy ? rmsNormBackwardOp([x, weight, rstd, dy]) : [],
  ...perElement(6),
});

export const rmsNormBackwardOp = defineOp('rms_norm_backward', {
  inputs: { x: '* C real', weight: 'C', rstd: '*', dy: '* C real', dsum: '* C real ?' },
  outputs: { dx: '* C real', dweight: 'C' },
  reuse: reuseBackward,
  ...perElement(10),
  ...columnSums(1),
});

export interface NormOptions {
  /** Added to the variance (layer norm) or mean square (RMS norm). Default 1e-5. */
  epsilon?: number;
}

/** Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450): (x - mean) / sqrt(var + epsilon) * weight + bias. */
export const layerNorm = (x: Operand, weight: Operand, bias?: Operand, options: NormOptions = {}): Tensor =>
  layerNormOp([x, weight, bias], { epsilon: options.epsilon ?? 1e-5 })[0];

/** Root mean square normalisation over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467). */
export const rmsNorm = (x: Operand, weight: Operand, options: NormOptions = {}): Tensor =>
  rmsNormOp([x, weight], { epsilon: options.epsilon ?? 1e-5 })[0];
