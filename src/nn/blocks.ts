import type { Tensor } from '../graph/tensor.js';
import { add } from '../ops/index.js';
import { SelfAttention, type SelfAttentionOptions } from './attention.js';
import { FeedForward, type FeedForwardOptions } from './feedForward.js';
import { Module } from './module.js';
import { LayerNorm, RmsNorm } from './norm.js';

export interface DecoderBlockOptions extends SelfAttentionOptions, FeedForwardOptions {
  /** Default layerNorm. */
  normalization?: 'layerNorm' | 'rmsNorm';
  /** Default 1e-5. */
  normEpsilon?: number;
}

/** A norm of the given kind. */
export const normOf = (
  kind: 'layerNorm' | 'rmsNorm',
  size: number,
  epsilon?: number,
  bias = true,
): LayerNorm | RmsNorm =>
  kind === 'rmsNorm' ? new RmsNorm(size, epsilon) : new LayerNorm(size, { epsilon, bias });

/** A pre-norm decoder layer: x + attention(norm(x)), then x + feedForward(norm(x)), on [B, T, hiddenSize]. */
export class DecoderBlock extends Module {
  readonly attentionNorm: LayerNorm | RmsNorm;
  readonly attention: SelfAttention;
  readonly feedForwardNorm: LayerNorm | RmsNorm;
  readonly feedForward: FeedForward;

  constructor(options: DecoderBlockOptions) {
    super();
    const { hiddenSize, normalization = 'layerNorm', normEpsilon, linear } = options;
    this.attentionNorm = normOf(normalization, hiddenSize, normEpsilon, linear?.bias);
    this.attention = new SelfAttention(options);
    this.feedForwardNorm = normOf(normalization, hiddenSize, normEpsilon, linear?.bias);
    this.feedForward = new FeedForward(options);
  }

  forward(x: Tensor): Tensor {
    const attended = add(x, this.attention.forward(this.attentionNorm.forward(x)));
    return add(attended, this.feedForward.forward(this.feedForwardNorm.forward(attended)));
  }
}
