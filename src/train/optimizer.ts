import { mirrorOf } from '../compile/index.js';
import type { Tensor } from '../graph/tensor.js';
import { adamwOp, type ClipMode, gradientNormOp, sgdOp } from '../ops/index.js';
import type { Precision } from '../shape/dtype.js';
import type { TrainingSlots } from './arenas.js';
import type { LearningRate } from './learningRate.js';

interface AnyOptimizer {
  /** A number, or a schedule of learningRate.ts. Default 1e-3. */
  readonly learningRate: number | LearningRate;
}

/**
 * AdamW (Loshchilov & Hutter 2017), which shrinks weights by learningRate * weightDecay, or Adam (Kingma & Ba 2014), which adds
 * weightDecay * weight to the gradient. Defaults are torch's: beta1 0.9, beta2 0.999, epsilon 1e-8, weightDecay 0.01 and 0.
 */
export interface AdamSettings extends AnyOptimizer {
  readonly name: 'adam' | 'adamw';
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Stochastic gradient descent. Defaults: momentum 0, weightDecay 0, no Nesterov step. */
export interface SgdSettings extends AnyOptimizer {
  readonly name: 'sgd';
  readonly momentum: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
}

export type OptimizerSettings = AdamSettings | SgdSettings;

type AdamOptions = Partial<Omit<AdamSettings, 'name'>>;
const adamDefaults = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

export const adamw = (options: AdamOptions = {}): AdamSettings => ({
  name: 'adamw',
  ...adamDefaults,
  weightDecay: 0.01,
  ...options,
});

export const adam = (options: AdamOptions = {}): AdamSettings => ({
  name: 'adam',
  ...adamDefaults,
  weightDecay: 0,
  ...options,
});

export const sgd = (options: Partial<Omit<SgdSettings, 'name'>> = {}): SgdSettings => ({
  name: 'sgd',
  learningRate: 1e-3,
  momentum: 0,
  weightDecay: 0,
  nesterov: false,
  ...options,
});

/** Bounds gradients: `norm` shrinks a larger global norm to `maximum`, `rescale` brings any norm to it, `value` cuts elements. */
export interface ClipSettings {
  readonly mode: ClipMode;
  readonly maximum: number;
}

/** Appends the gradient norm, clipping and the update of all parameters; returns what a step reports. */
export function appendUpdate(
  gradients: Tensor,
  tokenCount: Tensor,
  slots: TrainingSlots,
  optimizer: OptimizerSettings,
  clip: ClipSettings,
  precision: Precision = 'float32',
): { norm: Tensor; finite: Tensor } {
  const { graph } = gradients;
  const bounds = { clip: clip.mode, maximum: clip.maximum };
  const [norm, factor, finite] = gradientNormOp([gradients, tokenCount], bounds);
  const moments = slots.moments.map((slot) => graph.readSlot(slot));
  const [parameters, blocks, counters] = [slots.parameters, slots.blocks, slots.counters].map((slot) =>
    graph.readSlot(slot),
  );
  const mirror = precision === 'bf16' ? [graph.readSlot(mirrorOf(slots.parameters))] : [];
  const operands = [parameters, gradients, ...moments, blocks, counters, factor, finite, ...mirror];
  if (optimizer.name === 'sgd') {
    const { momentum, weightDecay, nesterov } = optimizer;
    sgdOp(operands, { momentum, weight_decay: weightDecay, nesterov, ...bounds });
  } else {
    const { name, beta1, beta2, epsilon, weightDecay } = optimizer;
    const decoupled = name === 'adamw';
    adamwOp(operands, { beta1, beta2, epsilon, weight_decay: weightDecay, decoupled, ...bounds });
  }
  return { norm, finite };
}
