import { divisorsNear, ShapeError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import { decoding, isTraining, nextDropoutSite } from '../graph/trace.js';
import { type AttentionOptions, attention, cacheWriteOp, reshape, rotary, split } from '../ops/index.js';
import { dropoutInTraining } from './dropout.js';
import { Linear, type LinearOptions } from './linear.js';
import { Module } from './module.js';
import { tokenPositions } from './position.js';

export interface SelfAttentionOptions {
  hiddenSize: number;
  numAttentionHeads: number;
  /** Heads of keys and values; each serves numAttentionHeads / numKeyValueHeads queries. Default: numAttentionHeads. */
  numKeyValueHeads?: number;
  /** Default hiddenSize / numAttentionHeads. */
  headDim?: number;
  /** Default true. */
  causal?: boolean;
  /** Base of rotary positions; without it queries and keys are not rotated. */
  ropeTheta?: number;
  /** Dropout of the weights, and of the projection's output. Default 0. */
  attentionDropout?: number;
  dropout?: number;
  linear?: LinearOptions;
  /** Options of the projection that ends in the residual stream. Default: `linear`. */
  outputLinear?: LinearOptions;
}

/** Multi-head self-attention with one packed projection for queries, keys and values. */
export class SelfAttention extends Module {
  readonly qkv: Linear;
  readonly output: Linear;
  private readonly heads: number;
  private readonly groups: number;
  private readonly headDim: number;

  constructor(private readonly options: SelfAttentionOptions) {
    super();
    const { hiddenSize, numAttentionHeads: heads, numKeyValueHeads: groups = heads } = options;
    if (!options.headDim && hiddenSize % heads !== 0) {
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
    this.headDim = options.headDim ?? hiddenSize / heads;
    if (options.ropeTheta && this.headDim % 2 !== 0) {
      throw new ShapeError(`attention: rotary positions need an even headDim but it is ${this.headDim}`);
    }
    this.qkv = new Linear(hiddenSize, (heads + 2 * groups) * this.headDim, options.linear);
    this.output = new Linear(heads * this.headDim, hiddenSize, options.outputLinear ?? options.linear);
  }

  /** [B, T, hiddenSize] to the same. While decoding, keys and values join the cache first. */
  forward(x: Tensor): Tensor {
    const { heads, groups, headDim, options } = this;
    const [batch, length] = x.shape;
    const sizes = [heads, groups, groups].map((count) => count * headDim);
    const parts = split(this.qkv.forward(x), sizes);
    let [q, k, v] = parts.map((part, index) =>
      reshape(part, [batch, length, index === 0 ? heads : groups, headDim]),
    );
    if (options.ropeTheta) {
      const positions = tokenPositions(length);
      [q, k] = [q, k].map((part) => rotary(part, positions, options.ropeTheta));
    }
    const settings: AttentionOptions = { causal: options.causal ?? true };
    const cache = decoding();
    if (cache) {
      const { keys, values } = cache.nextCache(groups, headDim);
      const write = (slot: typeof keys, fresh: Tensor) => {
        cacheWriteOp([x.graph.readSlot(slot), fresh, cache.starts, cache.lengths]);
        return x.graph.readSlot(slot);
      };
      [k, v] = [write(keys, k), write(values, v)];
      settings.queryLengths = cache.lengths;
      settings.keyLengths = cache.totals;
      settings.slots = cache.slots;
    } else if (isTraining() && options.attentionDropout) {
      settings.dropout = options.attentionDropout;
      settings.site = nextDropoutSite();
    }
    const mixed = reshape(attention(q, k, v, settings), [batch, length, heads * headDim]);
    return dropoutInTraining(this.output.forward(mixed), options.dropout ?? 0);
  }
}
