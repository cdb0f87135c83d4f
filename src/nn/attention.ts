import { divisorsNear, ShapeError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import { decoding, isTraining, nextDropoutSite } from '../graph/trace.js';
import {
  type AttentionOptions,
  attention,
  cacheWriteOp,
  cast,
  reshape,
  rotary,
  split,
} from '../ops/index.js';
import { alibiSlopes } from './alibi.js';
import { dropoutInTraining } from './dropout.js';
import { initializationOf, Linear, type LinearOptions } from './linear.js';
import { Module } from './module.js';
import { tokenPositions } from './position.js';

export interface MultiHeadOptions {
  hiddenSize: number;
  numAttentionHeads: number;
  /** Heads of keys and values; each serves numAttentionHeads / numKeyValueHeads queries. Default: numAttentionHeads. */
  numKeyValueHeads?: number;
  /** Default hiddenSize / numAttentionHeads. */
  headDim?: number;
  /** Dropout of the weights, and of the projection's output. Default 0. */
  attentionDropout?: number;
  dropout?: number;
  linear?: LinearOptions;
  /** Options of the projection that ends in the residual stream. Default: `linear`. */
  outputLinear?: LinearOptions;
}

export interface SelfAttentionOptions extends MultiHeadOptions {
  /** Default true. */
  causal?: boolean;
  /** Number of most recent tokens that a token sees, itself included, and not causal as many after it; 0 means all. Default 0. */
  slidingWindow?: number;
  /** Base of rotary positions; without it queries and keys are not rotated. */
  ropeTheta?: number;
  /** Scores fall with distance, by a slope for each head (ALiBi). Default false. */
  alibi?: boolean;
}

/** Which tokens of a batch are there, and which belong together. Without it all of them do. */
export interface TokenRanges {
  /** int32 [B]: the first so many tokens of a row count, the rest is padding. */
  lengths?: Tensor;
  /** int32 [B, T]: the first token of the document that a token belongs to; tokens before it are not seen. */
  documentStarts?: Tensor;
  /** int32 [B, T]: each token's place in its document, from 0. Default: its place in the row. */
  positionIds?: Tensor;
}

/** Keys and values that a cross-attention looks at: [P, S, heads, headDim] each. */
export interface AttentionSource {
  readonly keys: Tensor;
  readonly values: Tensor;
  /** int32 [B]: how many keys of each row count. Default: all. */
  readonly lengths?: Tensor;
  /** int32 [B, S]: the row of `keys` and `values` that holds key j of row b. Default: row b, and P = B. */
  readonly slots?: Tensor;
}

/** What both kinds of attention share: the sizes of the heads and the projection that follows them. */
abstract class MultiHeadAttention extends Module {
  protected readonly heads: number;
  protected readonly groups: number;
  protected readonly headDim: number;

  constructor(private readonly settings: MultiHeadOptions) {
    super();
    const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups = heads } = settings;
    if (!settings.headDim && hiddenSize % heads !== 0) {
      throw new ShapeError(
        `attention: hiddenSize ${hiddenSize} is not divisible by numAttentionHeads ${heads}; use ${divisorsNear(hiddenSize, heads).join(' or ')}`,
        { hiddenSize, numAttentionHeads: heads },
      );
    }
    if (heads % groups !== 0) {
      throw new ShapeError(
        `attention: numAttentionHeads ${heads} is not a multiple of numKeyValueHeads ${groups}; use ${divisorsNear(heads, groups).join(' or ')}`,
        { numAttentionHeads: heads, numKeyValueHeads: groups },
      );
    }
    this.heads = heads;
    this.groups = groups;
    this.headDim = settings.headDim ?? hiddenSize / heads;
  }

  /** A projection of the input to some heads' queries, keys or values, packed; each starts as if it stood alone. */
  protected inputProjection(...parts: readonly number[]): Linear {
    const { hiddenSize, linear } = this.settings;
    const rows = parts.map((heads) => heads * this.headDim);
    return new Linear(
      hiddenSize,
      rows.reduce((a, b) => a + b),
      {
        ...linear,
        initialization: initializationOf(linear, hiddenSize, rows[0]),
      },
    );
  }

  protected outputProjection(): Linear {
    const { hiddenSize, linear, outputLinear = linear } = this.settings;
    return new Linear(this.heads * this.headDim, hiddenSize, outputLinear);
  }

  /** Cuts a packed projection into [B, T, heads, headDim] for each of `parts` heads. */
  protected splitHeads(packed: Tensor, ...parts: readonly number[]): Tensor[] {
    const [batch, length] = packed.shape;
    const sizes = parts.map((heads) => heads * this.headDim);
    return split(packed, sizes).map((part, index) =>
      reshape(part, [batch, length, parts[index], this.headDim]),
    );
  }

  /** Attention of [B, T, heads, headDim], joined to [B, T, heads * headDim]; dropout of the weights in training. */
  protected attend(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
    const { attentionDropout = 0 } = this.settings;
    const drops = isTraining() && attentionDropout > 0;
    const settings = drops ? { ...options, dropout: attentionDropout, site: nextDropoutSite() } : options;
    const [batch, length] = q.shape;
    // Keys and values that come from a bf16 cache are met by queries rounded alike.
    const mixed = cast(attention(cast(q, k.dtype), k, v, settings), q.dtype);
    return reshape(mixed, [batch, length, this.heads * this.headDim]);
  }

  protected project(output: Linear, mixed: Tensor): Tensor {
    return dropoutInTraining(output.forward(mixed), this.settings.dropout ?? 0);
  }
}

/** Multi-head self-attention with one packed projection for queries, keys and values. */
export class SelfAttention extends MultiHeadAttention {
  readonly qkv: Linear;
  readonly output: Linear;

  constructor(private readonly options: SelfAttentionOptions) {
    super(options);
    if (options.ropeTheta && this.headDim % 2 !== 0) {
      throw new ShapeError(`attention: rotary positions need an even headDim but it is ${this.headDim}`);
    }
    this.qkv = this.inputProjection(this.heads, this.groups, this.groups);
    this.output = this.outputProjection();
  }

  /** [B, T, hiddenSize] to the same. While decoding, keys and values join the cache first, and `ranges` are the cache's. */
  forward(x: Tensor, ranges: TokenRanges = {}): Tensor {
    const { heads, groups, headDim, options } = this;
    let [q, k, v] = this.splitHeads(this.qkv.forward(x), heads, groups, groups);
    if (options.ropeTheta) {
      const positions = ranges.positionIds ?? tokenPositions(x.shape[1]);
      [q, k] = [q, k].map((part) => rotary(part, positions, options.ropeTheta));
    }
    const settings: AttentionOptions = {
      causal: options.causal ?? true,
      window: options.slidingWindow ?? 0,
      alibiSlopes: options.alibi ? alibiSlopes(heads) : undefined,
      queryLengths: ranges.lengths,
      keyLengths: ranges.lengths,
      documentStarts: ranges.documentStarts,
    };
    const cache = decoding();
    if (cache) {
      const { keys, values } = cache.nextCache(groups, headDim);
      const write = (slot: typeof keys, fresh: Tensor) => {
        const kept = x.graph.readSlot(slot);
        cacheWriteOp([kept, cast(fresh, kept.dtype), cache.starts, cache.lengths]);
        return kept;
      };
      [k, v] = [write(keys, k), write(values, v)];
      settings.queryLengths = cache.lengths;
      settings.keyLengths = cache.totals;
      settings.slots = cache.slots;
    }
    return this.project(this.output, this.attend(q, k, v, settings));
  }
}

/**
 * Multi-head attention of one sequence to another (Vaswani et al. 2017, section 3.2.3). Its keys and values are made apart,
 * by `source`, so that decoding makes them once for a memory and not once for every token.
 */
export class CrossAttention extends MultiHeadAttention {
  readonly query: Linear;
  readonly keyValue: Linear;
  readonly output: Linear;

  constructor(options: MultiHeadOptions) {
    super(options);
    this.query = this.inputProjection(this.heads);
    this.keyValue = this.inputProjection(this.groups, this.groups);
    this.output = this.outputProjection();
  }

  /** Keys and values of a memory [B, S, hiddenSize]. */
  source(memory: Tensor, lengths?: Tensor): AttentionSource {
    const [keys, values] = this.splitHeads(this.keyValue.forward(memory), this.groups, this.groups);
    return { keys, values, lengths };
  }

  /** [B, T, hiddenSize] to the same; `lengths` says how many of the T tokens of each row count. */
  forward(x: Tensor, source: AttentionSource, lengths?: Tensor): Tensor {
    const [q] = this.splitHeads(this.query.forward(x), this.heads);
    const mixed = this.attend(q, source.keys, source.values, {
      queryLengths: decoding()?.lengths ?? lengths,
      keyLengths: source.lengths,
      slots: source.slots,
    });
    return this.project(this.output, mixed);
  }
}
