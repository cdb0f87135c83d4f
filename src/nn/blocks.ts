import { ConfigError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import { add } from '../ops/index.js';
import {
  type AttentionSource,
  CrossAttention,
  SelfAttention,
  type SelfAttentionOptions,
  type TokenRanges,
} from './attention.js';
import { FeedForward, type FeedForwardOptions } from './feedForward.js';
import { Module } from './module.js';
import { LayerNorm, RmsNorm } from './norm.js';

export interface BlockOptions extends SelfAttentionOptions, FeedForwardOptions {
  /** Default layerNorm. */
  normalization?: 'layerNorm' | 'rmsNorm';
  /** Default 1e-5. */
  normEpsilon?: number;
  /** True normalises what goes into each part, false what comes out of each addition (Vaswani et al. 2017). Default true. */
  normalizeBefore?: boolean;
  /** Adds an attention to another sequence between the two parts. Default false. */
  crossAttention?: boolean;
}

/** What a block knows besides its input. */
export interface BlockContext extends TokenRanges {
  /** What the cross-attention looks at. */
  source?: AttentionSource;
}

/** A norm of the given kind. */
export const normOf = (
  kind: 'layerNorm' | 'rmsNorm',
  size: number,
  epsilon?: number,
  bias = true,
): LayerNorm | RmsNorm =>
  kind === 'rmsNorm' ? new RmsNorm(size, epsilon) : new LayerNorm(size, { epsilon, bias });

/**
 * A Transformer layer on [B, T, hiddenSize]: self-attention, cross-attention where asked for, and a feed-forward part, each
 * x + part(norm(x)), or norm(x + part(x)) where `normalizeBefore` is false.
 */
export class TransformerBlock extends Module {
  readonly attentionNorm: LayerNorm | RmsNorm;
  readonly attention: SelfAttention;
  readonly crossAttentionNorm?: LayerNorm | RmsNorm;
  readonly crossAttention?: CrossAttention;
  readonly feedForwardNorm: LayerNorm | RmsNorm;
  readonly feedForward: FeedForward;
  private readonly normalizeBefore: boolean;

  constructor(options: BlockOptions) {
    super();
    const { hiddenSize, normalization = 'layerNorm', normEpsilon, linear } = options;
    const norm = () => normOf(normalization, hiddenSize, normEpsilon, linear?.bias);
    this.attentionNorm = norm();
    this.attention = new SelfAttention(options);
    if (options.crossAttention) {
      this.crossAttentionNorm = norm();
      this.crossAttention = new CrossAttention(options);
    }
    this.feedForwardNorm = norm();
    this.feedForward = new FeedForward(options);
    this.normalizeBefore = options.normalizeBefore ?? true;
  }

  forward(x: Tensor, context: BlockContext = {}): Tensor {
    return x.graph.block(() => this.compute(x, context));
  }

  private compute(x: Tensor, context: BlockContext): Tensor {
    const { attention, crossAttention, crossAttentionNorm, feedForward } = this;
    let y = this.addPart(x, this.attentionNorm, (input) => attention.forward(input, context));
    if (crossAttention && crossAttentionNorm) {
      const { source, lengths } = context;
      if (!source) throw new ConfigError('a block with cross-attention needs the source it looks at');
      y = this.addPart(y, crossAttentionNorm, (input) => crossAttention.forward(input, source, lengths));
    }
    return this.addPart(y, this.feedForwardNorm, (input) => feedForward.forward(input));
  }

  private addPart(x: Tensor, norm: LayerNorm | RmsNorm, part: (input: Tensor) => Tensor): Tensor {
    return this.normalizeBefore ? add(x, part(norm.forward(x))) : norm.forward(add(x, part(x)));
  }
}

export type DecoderBlockOptions = BlockOptions;

/** A layer whose tokens see themselves and those before them. */
export class DecoderBlock extends TransformerBlock {}

/** A layer whose tokens see all tokens. */
export class EncoderBlock extends TransformerBlock {
  constructor(options: Omit<BlockOptions, 'causal' | 'crossAttention'>) {
    super({ ...options, causal: false });
  }
}
