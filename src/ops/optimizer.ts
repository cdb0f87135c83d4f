import { defineOp } from '../graph/op.js';
import { sizeOf } from '../shape/shape.js';

/** How gradients are bounded: not at all, shrunk to a norm, brought to a norm from either side, or cut by value. */
export const clipModes = ['none', 'norm', 'rescale', 'value'] as const;
export type ClipMode = (typeof clipModes)[number];

/** Counters of optimizerState: updates applied, updates skipped, skipped in a row. */
export const optimizerCounters = 4;

/**
 * norm of gradients / count, the factor that turns stored sums into clipped means (clip / count), and whether the norm is
 * finite. Mode `value` leaves the factor at 1 / count: the update cuts. Sums run in a fixed order in float64.
 */
export const gradientNormOp = defineOp('gradient_norm', {
  inputs: { gradients: 'N', token_count: '1' },
  outputs: { norm: '1', factor: '1', finite: '1 i32' },
  attributes: { clip: clipModes, maximum: 'f32' },
  cost: ({ inputs: [gradients] }) => ({ flops: 2 * sizeOf(gradients!.shape) }),
  // One float64 a block of 16,384 elements.
  workspace: ({ inputs: [gradients] }) => 8 * Math.ceil(sizeOf(gradients!.shape) / 16384),
});

/**
 * AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101, with torch's order of operations: p -= lr * decay * p first), or, where
 * the decay is not `decoupled`, Adam (Kingma & Ba 2014, arXiv:1412.6980) with decay * p added to the gradient, over flat arenas.
 * `blocks` holds {weight decay factor, learning-rate factor} for each 1,024 elements. Where `finite` is 0 nothing but the counters
 * changes. `parameters_bf16` is the mirror of the parameters that products read, written in the same pass.
 * counters = {applied, skipped, skipped in a row, unused}.
 */
export const adamwOp = defineOp('adamw', {
  inputs: {
    parameters: 'N',
    gradients: 'N',
    first_moment: 'N',
    second_moment: 'N',
    blocks: 'K 2',
    counters: '4 i32',
    factor: '1',
    finite: '1 i32',
    parameters_bf16: 'N bf16 ?',
  },
  outputs: {},
  attributes: {
    beta1: 'f32',
    beta2: 'f32',
    epsilon: 'f32',
    weight_decay: 'f32',
    decoupled: 'bool',
    clip: clipModes,
    maximum: 'f32',
  },
  writes: ['parameters', 'first_moment', 'second_moment', 'counters', 'parameters_bf16'],
  cost: ({ inputs: [parameters] }) => ({ flops: 14 * sizeOf(parameters!.shape) }),
});

/** Stochastic gradient descent with momentum and weight decay, as torch.optim.SGD (dampening 0). */
export const sgdOp = defineOp('sgd', {
  inputs: {
    parameters: 'N',
    gradients: 'N',
    momentum_buffer: 'N',
    blocks: 'K 2',
    counters: '4 i32',
    factor: '1',
    finite: '1 i32',
    parameters_bf16: 'N bf16 ?',
  },
  outputs: {},
  attributes: { momentum: 'f32', weight_decay: 'f32', nesterov: 'bool', clip: clipModes, maximum: 'f32' },
  writes: ['parameters', 'momentum_buffer', 'counters', 'parameters_bf16'],
  cost: ({ inputs: [parameters] }) => ({ flops: 6 * sizeOf(parameters!.shape) }),
});
