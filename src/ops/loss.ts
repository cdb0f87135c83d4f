import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { sizeOf } from '../shape/shape.js';
import { sum } from './reduce.js';
import { reshape } from './view.js';

/**
 * Cross entropy of softmax(logits) with smoothed targets: q = (1 - s) onehot + s / V (Szegedy et al. 2015,
 * arXiv:1512.00567, section 7; as torch's label_smoothing). Targets outside 0..V-1 (by custom -1) count nothing. Where
 * somebody reads `dlogits`, the kernel writes softmax(logits) - q there, over the logits if they die.
 */
export const softmaxCrossEntropyOp = defineOp('softmax_cross_entropy', {
  inputs: { logits: 'N V real rows', targets: 'N i32' },
  outputs: { loss: 'N', log_sum_exp: 'N', dlogits: 'N V real rows' },
  attributes: { label_smoothing: 'f32' },
  reuse: { dlogits: ['logits'] },
  gradient: ({ inputs: [logits, targets], outputs: [, logSumExp], attributes }, [dloss]) => [
    dloss && softmaxCrossEntropyBackwardOp([logits, targets, logSumExp, dloss], attributes)[0],
  ],
  cost: ({ inputs: [logits] }) => ({ flops: 6 * sizeOf(logits!.shape) }),
});

/** dlogits = dloss * (softmax(logits) - q); only where compile/fuse.ts could not let the forward kernel write it. */
export const softmaxCrossEntropyBackwardOp = defineOp('softmax_cross_entropy_backward', {
  inputs: { logits: 'N V real rows', targets: 'N i32', log_sum_exp: 'N', dloss: 'N' },
  outputs: { dlogits: 'N V real rows' },
  attributes: { label_smoothing: 'f32' },
  reuse: { dlogits: ['logits'] },
  cost: ({ inputs: [logits] }) => ({ flops: 4 * sizeOf(logits!.shape) }),
});

const countTargetsOp = defineOp('count_targets', {
  inputs: { targets: 'N i32' },
  outputs: { count: '1' },
  attributes: { limit: 'i32' },
});

export interface LossSum {
  /** [1]: the sum over counted targets, in nats. */
  lossSum: Tensor;
  /** [1], float32: how many targets counted (exact up to 2^24). */
  tokenCount: Tensor;
}

/** Cross entropy of logits [..., V] with targets [...], as a sum and a count. `labelSmoothing` defaults to 0. */
export function crossEntropy(logits: Operand, targets: Operand, labelSmoothing = 0): LossSum {
  const tensor = toTensor(logits);
  const vocabSize = tensor.shape.at(-1)!;
  const flatTargets = reshape(targets, [-1]);
  const [loss] = softmaxCrossEntropyOp([reshape(tensor, [-1, vocabSize]), flatTargets], {
    label_smoothing: labelSmoothing,
  });
  return {
    lossSum: reshape(sum(loss), [1]),
    tokenCount: countTargetsOp([flatTargets], { limit: vocabSize })[0],
  };
}
