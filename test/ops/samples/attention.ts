import { type AttentionOptions, attention, cacheWriteOp, cast, reshape, split } from '#src/ops/index.js';
import { bf16, exactly, integers, normal, type Sample, type SampleArray, type Tensors } from '../sample.js';

interface Sizes {
  batch?: number;
  queries?: number;
  keys?: number;
  heads?: number;
  groups?: number;
  headDim?: number;
}

/** Query, key and value arrays; keys default to the queries' number, groups to the heads'. */
function operands({ batch = 2, queries = 9, keys = queries, heads = 2, groups = heads, headDim = 8 }: Sizes) {
  return {
    q: normal([batch, queries, heads, headDim]),
    k: normal([batch, keys, groups, headDim]),
    v: normal([batch, keys, groups, headDim]),
  };
}

type Masks = Pick<AttentionOptions, 'queryLengths' | 'keyLengths' | 'documentStarts' | 'alibiSlopes'>;

const variant = (
  what: string,
  sizes: Sizes,
  options: AttentionOptions = {},
  masks: Readonly<Record<string, SampleArray>> = {},
  scalars: Sample['scalars'] = {},
): Sample => ({
  name: `attention: ${what}`,
  inputs: { ...operands(sizes), ...masks },
  build: ({ q, k, v, ...rest }: Tensors) => ({ y: attention(q, k, v, { ...options, ...(rest as Masks) }) }),
  scalars,
  gradient: 'normalised',
});

/** ALiBi's slopes are fixed numbers: they have no gradient. */
const alibi = (...slopes: number[]) => ({ alibiSlopes: exactly([slopes.length], slopes) });
const lengths = (...values: number[]) => exactly([values.length], values, 'i32');

const variants: Sample[] = [
  variant('one query, one key', { batch: 1, queries: 1, heads: 1, headDim: 1 }),
  variant('full', {}),
  variant('causal', { queries: 13, headDim: 5 }, { causal: true }),
  variant('causal, several blocks', { batch: 1, queries: 131, heads: 2, headDim: 16 }, { causal: true }),
  variant(
    'several hundred keys',
    { batch: 1, queries: 70, keys: 601, heads: 2, groups: 1 },
    { causal: true },
  ),
  variant(
    'few queries, several hundred keys',
    { batch: 1, queries: 3, keys: 601, heads: 2 },
    { window: 300 },
  ),
  // Tiles of tensor cores: at their borders in queries and keys, for each width of heads, and where rows are no whole vectors.
  ...[
    { queries: 63, headDim: 32 },
    { queries: 64, headDim: 64, heads: 4, groups: 2 },
    { queries: 65, headDim: 96 },
    { queries: 129, headDim: 128 },
    { queries: 65, keys: 130, headDim: 64 },
    { queries: 40, headDim: 136 },
    { queries: 33, headDim: 20 },
  ].map((sizes) =>
    variant(
      `causal, ${sizes.queries} queries of ${sizes.headDim}${sizes.keys ? `, ${sizes.keys} keys` : ''}`,
      { batch: 1, heads: 1, ...sizes },
      { causal: true },
    ),
  ),
  variant('a scale of its own', { queries: 7 }, { scale: 0.9 }),
  variant('grouped queries', { queries: 17, heads: 6, groups: 2 }, { causal: true }),
  variant('one key head for all', { queries: 11, heads: 5, groups: 1, headDim: 24 }),
  variant('more keys than queries', { queries: 3, keys: 21 }),
  variant('more queries than keys', { queries: 21, keys: 3 }),
  variant('causal, more keys than queries', { queries: 5, keys: 12 }, { causal: true }),
  variant('causal, queries before any key', { queries: 12, keys: 5 }, { causal: true }),
  variant('window', { queries: 20, headDim: 12 }, { causal: true, window: 4 }),
  variant('window, not causal', { queries: 20 }, { window: 3 }),
  variant('window of 1', { queries: 6 }, { causal: true, window: 1 }),
  variant(
    'lengths',
    { batch: 4, queries: 10, keys: 14 },
    {},
    { queryLengths: lengths(10, 1, 0, 7), keyLengths: lengths(14, 9, 5, 0) },
  ),
  variant(
    'causal lengths',
    { batch: 4, queries: 10 },
    { causal: true },
    { queryLengths: lengths(10, 1, 0, 7), keyLengths: lengths(10, 1, 0, 7) },
  ),
  variant(
    'causal, cross lengths',
    { batch: 3, queries: 6, keys: 11, heads: 4, groups: 2 },
    { causal: true },
    { queryLengths: lengths(6, 4, 5), keyLengths: lengths(11, 2, 9) },
  ),
  variant(
    'document starts',
    { batch: 2, queries: 8 },
    { causal: true },
    { documentStarts: exactly([2, 8], [0, 0, 0, 3, 3, 5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7], 'i32') },
  ),
  variant(
    'document starts beyond the query',
    { batch: 1, queries: 4 },
    { causal: true },
    { documentStarts: exactly([1, 4], [0, 2, 1, 4], 'i32') },
  ),
  variant('alibi', { queries: 19, heads: 4 }, { causal: true }, alibi(0.5, 0.25, 0.125, 0.0625)),
  variant('alibi, not causal', { queries: 7, keys: 9, heads: 2 }, {}, alibi(0.5, 0.1)),
  variant('dropout', { queries: 21, keys: 18 }, { dropout: 0.3, site: 2 }, {}, { seed: 9, step: 4 }),
  variant(
    'causal, dropout, row offset',
    { queries: 70, heads: 2, groups: 1, headDim: 4 },
    { causal: true, dropout: 0.1, site: 4 },
    {},
    { seed: 123_456_789_012, step: 7, microStep: 3, rowOffset: 12 },
  ),
  variant(
    'all masks at once',
    { batch: 3, queries: 12, keys: 15, heads: 4, groups: 2, headDim: 6 },
    { causal: true, window: 5, dropout: 0.2, site: 1 },
    {
      queryLengths: lengths(12, 7, 10),
      keyLengths: lengths(15, 9, 10),
      documentStarts: integers([3, 12], 0, 4),
      ...alibi(0.3, 0.2, 0.1, 0.05),
    },
    { seed: 5, step: 1 },
  ),
];

const [batch, length, heads, groups, headDim] = [2, 11, 4, 2, 6];

const packed: Sample = {
  name: 'attention: parts of one projection',
  inputs: { qkv: normal([batch, length, (heads + 2 * groups) * headDim]) },
  build: ({ qkv }) => {
    const parts = split(
      qkv,
      [heads, groups, groups].map((count) => count * headDim),
    );
    const [q, k, v] = parts.map((part, index) =>
      reshape(part, [batch, length, index === 0 ? heads : groups, headDim]),
    );
    return { y: reshape(attention(q, k, v, { causal: true }), [batch, length, heads * headDim]) };
  },
  gradient: 'normalised',
};

const statistics: Sample = {
  name: 'attention: log of the sum of exponentials',
  inputs: { ...operands({ queries: 9 }), keyLengths: lengths(9, 5) },
  build: ({ q, k, v, keyLengths }) => {
    const y = attention(q, k, v, { keyLengths });
    return { y, logSumExp: y.node.outputs[1] };
  },
  gradient: 'none',
};

/** Decoding: fresh keys and values join the cache, whose rows a table of slots picks. */
const decoding = (what: string, queries: number, withSlots: boolean, ofCache = normal): Sample => {
  const [rows, capacity] = [3, 20];
  const starts = [0, 7, capacity - queries];
  const fresh = [queries, 1, queries];
  const cache = ofCache([rows, capacity, groups, headDim]);
  return {
    name: `cache_write: ${what}`,
    inputs: {
      q: normal([rows, queries, heads, headDim]),
      k: normal([rows, queries, groups, headDim]),
      v: normal([rows, queries, groups, headDim]),
      starts: lengths(...starts),
      lengths: lengths(...fresh),
      totals: lengths(...starts.map((start, row) => start + fresh[row])),
      ...(withSlots ? { slots: integers([rows, capacity], 0, rows) } : {}),
    },
    slots: { keys: cache, values: cache },
    build: ({ q, k, v, keys, values, starts, lengths, totals, slots }) => {
      cacheWriteOp([keys, cast(k, keys.dtype), starts, lengths]);
      cacheWriteOp([values, cast(v, keys.dtype), starts, lengths]);
      const options = { causal: true, queryLengths: lengths, keyLengths: totals, slots };
      return { y: cast(attention(cast(q, keys.dtype), keys, values, options), 'f32') };
    },
    gradient: 'none',
  };
};

const whole: Sample = {
  name: 'cache_write: all rows of a part of a projection',
  inputs: { x: normal([2, 3, 2 * 2 * 4]), starts: lengths(0, 4) },
  slots: { keys: normal([2, 8, 2, 4]) },
  build: ({ x, keys, starts }) => {
    const [, values] = split(x, [8, 8]);
    cacheWriteOp([keys, reshape(values, [2, 3, 2, 4]), starts]);
    return {};
  },
  gradient: 'none',
};

export const attentionSamples: readonly Sample[] = [
  ...variants,
  packed,
  statistics,
  decoding('one token a row, then attention', 1, false),
  decoding('several tokens a row, then attention', 5, false),
  decoding('one token a row, then attention through slots', 1, true),
  decoding('several tokens a row, then attention through slots', 6, true),
  decoding('a bf16 cache, one token a row', 1, false, bf16),
  decoding('a bf16 cache through slots, several tokens a row', 6, true, bf16),
  whole,
];
