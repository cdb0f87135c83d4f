import { DataError } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { TokenSource } from './tokenSource.js';

/** Walker's table (1977) of a distribution: entry i stands for itself with `probability[i]`, else for `alias[i]`. */
export interface AliasTable {
  readonly probability: Float32Array;
  readonly alias: Int32Array;
}

/** Makes the table for weights that need not add up to 1. At least one must be above 0. */
export function aliasTable(weights: ArrayLike<number>): AliasTable {
  const count = weights.length;
  const total = Array.from(weights).reduce((sum, weight) => sum + weight, 0);
  const share = Float64Array.from(weights, (weight) => (weight / total) * count);
  const probability = new Float32Array(count).fill(1);
  const alias = Int32Array.from({ length: count }, (_, index) => index);
  const small: number[] = [];
  const large: number[] = [];
  share.forEach((value, index) => {
    (value < 1 ? small : large).push(index);
  });
  while (small.length > 0 && large.length > 0) {
    const less = small.pop()!;
    const more = large.at(-1)!;
    probability[less] = share[less];
    alias[less] = more;
    share[more] -= 1 - share[less];
    if (share[more] < 1) small.push(large.pop()!);
  }
  return { probability, alias };
}

export interface SkipGramDataOptions {
  /** Words that a run of the program goes over. */
  readonly chunkLength: number;
  /** Threshold of sub-sampling; 0 keeps all words. */
  readonly subsample: number;
}

/** A text of words, in chunks, with what skip-gram needs to know of their frequencies. Special tokens are passed over. */
export class SkipGramData {
  /** Words of the vocabulary in the text. */
  readonly words: number;
  readonly chunksPerEpoch: number;
  /** Probability of keeping an occurrence of each word: sqrt(t / f) + t / f, as word2vec computes it. */
  readonly keep: Float32Array;
  /** Of words as negatives: in proportion to count^0.75 (Mikolov et al. 2013, section 2.2). */
  readonly negatives: AliasTable;

  /** Counts the words of the source. DataError where there is none. */
  constructor(
    private readonly source: TokenSource,
    private readonly tokenizer: Tokenizer,
    private readonly options: SkipGramDataOptions,
  ) {
    const counts = this.count();
    const words = counts.reduce((sum, count) => sum + count, 0);
    if (words < 2)
      throw new DataError(`the text has ${words} words of the vocabulary, but skip-gram takes at least 2`);
    const { subsample, chunkLength } = options;
    this.words = words;
    this.chunksPerEpoch = Math.ceil(source.count / chunkLength);
    this.keep = Float32Array.from(counts, (count) => {
      const ratio = (subsample * words) / count;
      return subsample > 0 && count > 0 ? Math.min(1, Math.sqrt(ratio) + ratio) : 1;
    });
    this.negatives = aliasTable(counts.map((count) => count ** 0.75));
  }

  /** Fills `ids` with the chunk of a step, counted through all epochs; what is no word of the vocabulary is -1. */
  chunkAt(step: number, ids: Int32Array): void {
    const start = (step % this.chunksPerEpoch) * this.options.chunkLength;
    const length = Math.min(this.options.chunkLength, this.source.count - start);
    this.source.read(start, ids, 0, length);
    ids.fill(-1, length);
    for (let i = 0; i < length; i++) if (this.isSpecial(ids[i])) ids[i] = -1;
  }

  private isSpecial(id: number): boolean {
    return Object.values(this.tokenizer.specialTokens).includes(id);
  }

  private count(): Float64Array {
    const counts = new Float64Array(this.tokenizer.vocabSize);
    const ids = new Int32Array(1 << 16);
    for (let start = 0; start < this.source.count; start += ids.length) {
      const length = Math.min(ids.length, this.source.count - start);
      this.source.read(start, ids, 0, length);
      for (let i = 0; i < length; i++) counts[ids[i]]++;
    }
    for (const id of Object.values(this.tokenizer.specialTokens)) if (id !== undefined) counts[id] = 0;
    return counts;
  }
}
