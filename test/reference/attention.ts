import { type Definitions, floats, type NumberArray, type ReferenceCall } from './array.js';
import { dropoutFactor } from './pointwise.js';

/** The optional inputs, which stand at different places forward and backward. */
interface Masks {
  readonly queryLengths?: NumberArray;
  readonly keyLengths?: NumberArray;
  readonly documentStarts?: NumberArray;
  readonly alibiSlopes?: NumberArray;
}

/** One (row, head, query) and the keys it sees. */
interface Query {
  readonly b: number;
  readonly h: number;
  readonly i: number;
  /** Its position among the keys. */
  readonly position: number;
  readonly low: number;
  readonly high: number;
}

/** Every query that is there, by the rule of src/ops/attention.ts; `low >= high` where it sees nothing. */
function* queriesOf(
  [batch, length, heads]: readonly number[],
  keys: number,
  masks: Masks,
  { attributes }: ReferenceCall,
): Generator<Query> {
  for (let b = 0; b < batch; b++) {
    const queryCount = masks.queryLengths?.data[b] ?? length;
    const keyCount = masks.keyLengths?.data[b] ?? keys;
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queryCount; i++) {
        const position = i + keyCount - queryCount;
        const start = masks.documentStarts?.data[b * length + i] ?? 0;
        const window = attributes.window as number;
        const low = Math.max(0, start, window > 0 ? position - window + 1 : 0);
        const end = attributes.causal ? position + 1 : window > 0 ? position + window : keyCount;
        const high = Math.min(end, keyCount);
        yield { b, h, i, position, low, high };
      }
    }
  }
}

const dot = (a: NumberArray, atA: number, b: NumberArray, atB: number, size: number): number => {
  let sum = 0;
  for (let d = 0; d < size; d++) sum += a.data[atA + d] * b.data[atB + d];
  return sum;
};

/** Places of vectors in [B, T, H, D] operands, and the numbers both directions need of a (query, key) pair. */
class Pairs {
  private readonly sizes: readonly number[];
  private readonly keySizes: readonly number[];

  constructor(
    private readonly call: ReferenceCall,
    private readonly q: NumberArray,
    private readonly k: NumberArray,
    private readonly masks: Masks,
    private readonly slots?: NumberArray,
  ) {
    this.sizes = q.shape;
    this.keySizes = k.shape;
  }

  queryAt({ b, h, i }: Query): number {
    const [, length, heads, size] = this.sizes;
    return ((b * length + i) * heads + h) * size;
  }

  keyAt({ b, h }: Query, j: number): number {
    const [, keys, groups, size] = this.keySizes;
    const row = this.slots?.data[b * keys + j] ?? b;
    return ((row * keys + j) * groups + Math.floor(h / (this.sizes[2] / groups))) * size;
  }

  score(query: Query, j: number): number {
    const slope = this.masks.alibiSlopes?.data[query.h] ?? 0;
    const product = dot(this.q, this.queryAt(query), this.k, this.keyAt(query, j), this.sizes[3]);
    return (this.call.attributes.scale as number) * product - slope * Math.abs(query.position - j);
  }

  /** What dropout multiplies a weight by. */
  kept({ b, h, i }: Query, j: number): number {
    const [, length, heads] = this.sizes;
    const probability = this.call.attributes.dropout as number;
    if (probability === 0) return 1;
    const row = (b * heads + h) * length + i + this.call.scalars.rowOffset * heads * length;
    return dropoutFactor(this.call, probability, row, j);
  }

  statisticAt({ b, h, i }: Query): number {
    const [, length, heads] = this.sizes;
    return (b * heads + h) * length + i;
  }
}

export const attention: Definitions = {
  attention: (call) => {
    const [q, k, v, queryLengths, keyLengths, documentStarts, alibiSlopes, slots] = call.inputs;
    const masks = { queryLengths, keyLengths, documentStarts, alibiSlopes };
    const [batch, length, heads, size] = q!.shape;
    const y = floats(q!.shape);
    const logSumExp = floats([batch, heads, length]);
    logSumExp.data.fill(Number.NEGATIVE_INFINITY);
    const pairs = new Pairs(call, q!, k!, masks, slots);
    for (const query of queriesOf(q!.shape, k!.shape[1], masks, call)) {
      if (query.low >= query.high) continue;
      const scores: number[] = [];
      for (let j = query.low; j < query.high; j++) scores.push(pairs.score(query, j));
      const greatest = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - greatest), 0);
      const found = greatest + Math.log(total);
      logSumExp.data[pairs.statisticAt(query)] = found;
      scores.forEach((score, index) => {
        const j = query.low + index;
        const weight = Math.exp(score - found) * pairs.kept(query, j);
        for (let d = 0; d < size; d++) {
          y.data[pairs.queryAt(query) + d] += weight * v!.data[pairs.keyAt(query, j) + d];
        }
      });
    }
    return [y, logSumExp];
  },
  // With P the weights before dropout and M what dropout multiplies them by: dv = (P M)^T dy, dP = M (dy v^T),
  // dS = P (dP - dy . y) (Dao et al. 2022, algorithm 4).
  attention_backward: (call) => {
    const [q, k, v, y, logSumExp, dy, queryLengths, keyLengths, documentStarts, alibiSlopes] = call.inputs;
    const masks = { queryLengths, keyLengths, documentStarts, alibiSlopes };
    const size = q!.shape[3];
    const scale = call.attributes.scale as number;
    const [dq, dk, dv] = [floats(q!.shape), floats(k!.shape), floats(v!.shape)];
    const pairs = new Pairs(call, q!, k!, masks);
    for (const query of queriesOf(q!.shape, k!.shape[1], masks, call)) {
      const at = pairs.queryAt(query);
      const along = dot(dy!, at, y!, at, size);
      for (let j = query.low; j < query.high; j++) {
        const key = pairs.keyAt(query, j);
        const weight = Math.exp(pairs.score(query, j) - logSumExp!.data[pairs.statisticAt(query)]);
        const kept = pairs.kept(query, j);
        const dscore = weight * (kept * dot(dy!, at, v!, key, size) - along);
        for (let d = 0; d < size; d++) {
          dq.data[at + d] += scale * dscore * k!.data[key + d];
          dk.data[key + d] += scale * dscore * q!.data[at + d];
          dv.data[key + d] += weight * kept * dy!.data[at + d];
        }
      }
    }
    return [dq, dk, dv];
  },
  cache_write: ({ inputs: [cache, values, positions, lengths] }) => {
    const [, capacity, heads, size] = cache!.shape;
    const [batch, length] = values!.shape;
    const row = heads * size;
    for (let b = 0; b < batch; b++) {
      for (let t = 0; t < (lengths?.data[b] ?? length); t++) {
        const target = (b * capacity + positions!.data[b] + t) * row;
        for (let e = 0; e < row; e++) cache!.data[target + e] = values!.data[(b * length + t) * row + e];
      }
    }
    return [];
  },
};
