import { ShapeError } from '../errors.js';
import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';

/*
 * Every mask is a range of keys. With Tq = queryLengths[b] (default T) and Tk = keyLengths[b] (default S), query i stands
 * at position p = i + Tk - Tq, and sees keys low <= j < high with
 *   high = min(Tk, causal ? p + 1 : window > 0 ? p + window : Tk)
 *   low  = max(0, documentStarts[b][i], window > 0 ? p - window + 1 : 0)
 * Queries i >= Tq, and queries with an empty range, give 0 (and pass no gradient). alibiSlopes[h] adds
 * -slope * |p - j| to a score. `slots` (decoding only) says in which row of the cache key j of row b lies; without it P = B.
 */
const masks = {
  queryLengths: 'B i32 ?',
  keyLengths: 'B i32 ?',
  documentStarts: 'B T i32 ?',
  alibiSlopes: 'H ?',
};
const attributes = { causal: 'bool', window: 'i32', scale: 'f32', dropout: 'f32', site: 'i32' } as const;

const multiplyAdds = (q: Tensor, k: Tensor, causal: unknown) => {
  const [batch, length, heads, headDim] = q.shape;
  return batch * heads * length * k.shape[1] * headDim * (causal ? 0.5 : 1);
};

const attentionOp = defineOp('attention', {
  inputs: {
    q: 'B T H D real rows',
    k: 'P S G D real rows',
    v: 'P S G D real rows',
    ...masks,
    slots: 'B S i32 ?',
  },
  outputs: { y: 'B T H D real rows', log_sum_exp: 'B H T' },
  attributes,
  gradient: ({ inputs: [q, k, v, ...rest], outputs: [y, logSumExp], attributes }, [dy]) =>
    dy ? attentionBackwardOp([q, k, v, y, logSumExp, dy, ...rest.slice(0, 4)], attributes) : [],
  cost: ({ inputs: [q, k], attributes: { causal } }) => ({ flops: 4 * multiplyAdds(q!, k!, causal) }),
});

/** Gradients of `attention`, which its gradient rule takes; from its results and the gradient of the first. */
export const attentionBackwardOp = defineOp('attention_backward', {
  inputs: {
    q: 'B T H D real rows',
    k: 'P S G D real rows',
    v: 'P S G D real rows',
    y: 'B T H D real rows',
    log_sum_exp: 'B H T',
    dy: 'B T H D real rows',
    ...masks,
  },
  outputs: { dq: 'B T H D real rows', dk: 'P S G D real rows', dv: 'P S G D real rows' },
  attributes,
  cost: ({ inputs: [q, k], attributes: { causal } }) => ({ flops: 10 * multiplyAdds(q!, k!, causal) }),
});

// WIDEST_HEAD of native/cpu/attention.h: what fits a worker's scratch.
const widestHead = 768;

export interface AttentionOptions {
  /** Query i sees no key after its own position. Default false. */
  causal?: boolean;
  /** Number of most recent keys a query sees, its own included, and not causal as many after it; 0 means all. Default 0. */
  window?: number;
  /** Factor of the scores. Default 1 / sqrt(D). */
  scale?: number;
  /** Probability that a weight is dropped, with the number of this dropout in the model. Default 0. */
  dropout?: number;
  site?: number;
  /** int32 [B]: how many of the T queries, the S keys of a row are there. */
  queryLengths?: Operand;
  keyLengths?: Operand;
  /** int32 [B, T]: the first key a query may see. */
  documentStarts?: Operand;
  /** float32 [H] (Press et al. 2021, arXiv:2108.12409). */
  alibiSlopes?: Operand;
  /** int32 [B, S]: the cache row that holds key j of row b. */
  slots?: Operand;
}

/**
 * Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1) without a T x S matrix (Dao et al. 2022,
 * arXiv:2205.14135). q [B, T, H, D], k and v [B, S, G, D] with G dividing H and D at most 768; gives [B, T, H, D].
 */
export function attention(q: Operand, k: Operand, v: Operand, options: AttentionOptions = {}): Tensor {
  const [query, key] = [toTensor(q), toTensor(k)];
  const [heads, groups] = [query.shape[2], key.shape[2]];
  if (heads % groups !== 0) {
    throw new ShapeError(
      `attention: ${heads} query heads are not a multiple of ${groups} key and value heads`,
    );
  }
  if (!options.slots && query.shape[0] !== key.shape[0]) {
    throw new ShapeError(`attention: ${query.shape[0]} rows of queries but ${key.shape[0]} rows of keys`);
  }
  if (query.shape[3] > widestHead) {
    throw new ShapeError(
      `attention: heads of ${query.shape[3]} are wider than the kernels' limit of ${widestHead}`,
    );
  }
  const { queryLengths, keyLengths, documentStarts, alibiSlopes, slots } = options;
  return attentionOp([query, key, v, queryLengths, keyLengths, documentStarts, alibiSlopes, slots], {
    causal: options.causal ?? false,
    window: options.window ?? 0,
    scale: options.scale ?? 1 / Math.sqrt(query.shape[3]),
    dropout: options.dropout ?? 0,
    site: options.site ?? 0,
  })[0];
}

/** Writes the first lengths[b] (default T) rows of `values` into row b of a cache, from positions[b] on. */
export const cacheWriteOp = defineOp('cache_write', {
  inputs: { cache: 'P S G D real', values: 'B T G D real rows', positions: 'B i32', lengths: 'B i32 ?' },
  outputs: {},
  writes: ['cache'],
});
