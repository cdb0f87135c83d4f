import { ConfigError, DataError } from '../errors.js';
import { BpeTokenizer } from './bpe.js';
import type { Merge } from './mergeWord.js';
import { PairHeap } from './pairHeap.js';
import { PairTable } from './pairTable.js';
import { type SpecialTokenName, specialTokenContent } from './specialTokens.js';
import { pieceEnds, type SplitPattern, splitPieces } from './splitPattern.js';
import { grown, WordTable } from './wordTable.js';

export interface BpeTrainerOptions {
  /** Tokens in all: 256 bytes, merges, special tokens. A small text may give fewer. */
  readonly vocabSize: number;
  readonly specialTokens?: readonly SpecialTokenName[];
  /** How the text is cut into pieces, over whose borders no token reaches. Default 'gpt2'. */
  readonly pattern?: SplitPattern;
  /** A pair that occurs less often is not merged. Default 2. */
  readonly minCount?: number;
}

/** Ids have to fit beside each other into the 53 bits of a number. */
const largestVocabSize = 2 ** 21;

/**
 * Learns a byte-level BPE (Sennrich et al. 2016, algorithm 1) from a text that comes in pieces. Equal texts give equal
 * tokenizers: of the pairs that occur most often, the one with the smallest ids is merged first.
 */
export class BpeTrainer {
  readonly #options: Required<BpeTrainerOptions>;
  readonly #words = new WordTable();
  #counts = new Float64Array(1 << 12);
  #pending = '';

  constructor({ specialTokens = [], pattern = 'gpt2', minCount = 2, vocabSize }: BpeTrainerOptions) {
    const least = 256 + specialTokens.length;
    if (!Number.isSafeInteger(vocabSize) || vocabSize < least || vocabSize > largestVocabSize) {
      throw new ConfigError(
        `vocabSize of a bpe tokenizer must be a whole number from ${least} (256 bytes and ${specialTokens.length} special ` +
          `tokens) to ${largestVocabSize}, but it is ${vocabSize}`,
        { vocabSize },
      );
    }
    this.#options = { vocabSize, specialTokens, pattern, minCount };
  }

  /** Counts the words of a piece of text; pieces must not part a surrogate pair. */
  add(text: string): void {
    this.#pending = this.#count(this.#pending + text, false);
  }

  /** What is added next belongs to another text. */
  endText(): void {
    this.#pending = this.#count(this.#pending, true);
  }

  /** DataError where no text was added. */
  tokenizer(): BpeTokenizer {
    this.endText();
    if (this.#words.size === 0) {
      throw new DataError('the bpe tokenizer is learnt from a text, but the text is empty');
    }
    const { vocabSize, specialTokens, pattern, minCount } = this.#options;
    const vocabulary = new Vocabulary();
    const corpus = new SymbolCorpus(this.#words, this.#counts);
    const merges: Merge[] = [];
    const learnt = new PairTable(vocabSize);
    while (vocabulary.size < vocabSize - specialTokens.length) {
      const pair = corpus.mostFrequent();
      if (!pair || pair.count < minCount) break;
      const merged = vocabulary.join(pair.left, pair.right);
      // Another way to one of its tokens may bring a pair back that has been merged before.
      if (learnt.get(pair.left, pair.right) < 0) merges.push([pair.left, pair.right, merged]);
      learnt.set(pair.left, pair.right, merged);
      corpus.merge(pair.left, pair.right, merged);
    }
    const addedTokens = specialTokens.map((name, index) => ({
      id: vocabulary.size + index,
      content: specialTokenContent(name),
      special: true,
      lstrip: false,
      rstrip: false,
    }));
    return new BpeTokenizer({
      tokens: vocabulary.tokens,
      merges,
      addedTokens,
      pattern,
      addPrefixSpace: false,
      composes: false,
      ignoreMerges: false,
    });
  }

  #count(text: string, last: boolean): string {
    const end = splitPieces(pieceEnds[this.#options.pattern], text, 0, text.length, last, (from, to) => {
      const word = this.#words.add(text, from, to);
      if (word === this.#counts.length) this.#counts = grown(this.#counts, 0);
      this.#counts[word]++;
    });
    return text.slice(end);
  }
}

/** Tokens by id, the bytes first; two merges that lead to the same bytes lead to the same token. */
class Vocabulary {
  readonly tokens: Uint8Array[] = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  readonly #ids = new Map<string, number>();

  get size(): number {
    return this.tokens.length;
  }

  join(left: number, right: number): number {
    const token = Buffer.concat([this.tokens[left], this.tokens[right]]);
    const name = token.toString('latin1');
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    this.#ids.set(name, this.size);
    this.tokens.push(new Uint8Array(token));
    return this.size - 1;
  }
}

/**
 * The distinct words of a text as symbols, with the number of times every pair of neighbours occurs. A merge visits only the
 * words that have its pair, so that learning takes little more than one pass over the words for all merges together.
 */
class SymbolCorpus {
  readonly #counts: Float64Array;
  readonly #symbols: Int32Array;
  readonly #starts: Int32Array;
  readonly #lengths: Int32Array;
  /** Number of a pair by its symbols. */
  readonly #pairs = new PairTable(1 << 16);
  #pairCounts = new Float64Array(1 << 16);
  /** Words that a pair has occurred in, by number of the pair; it may have gone from some of them. */
  readonly #places: number[][] = [];
  /** Pairs by falling count, then by symbols. Counts may have fallen since. */
  readonly #heap = new PairHeap();

  constructor(words: WordTable, counts: Float64Array) {
    const bytes = Array.from({ length: words.size }, (_, i) => Buffer.from(words.word(i)));
    this.#counts = counts;
    this.#lengths = Int32Array.from(bytes, (word) => word.length);
    this.#starts = new Int32Array(words.size);
    for (let i = 1; i < words.size; i++) this.#starts[i] = this.#starts[i - 1] + this.#lengths[i - 1];
    this.#symbols = new Int32Array(bytes.reduce((sum, word) => sum + word.length, 0));
    bytes.forEach((word, i) => {
      const start = this.#starts[i];
      this.#symbols.set(word, start);
      for (let k = 1; k < word.length; k++) this.#add(word[k - 1], word[k], counts[i], i);
    });
    for (let left = 0; left < 256; left++) {
      for (let right = 0; right < 256; right++) this.#offer(left, right);
    }
  }

  mostFrequent(): { left: number; right: number; count: number } | undefined {
    const heap = this.#heap;
    while (heap.size > 0) {
      const claimed = -heap.first;
      const code = heap.second;
      const left = Math.floor(code / largestVocabSize);
      const right = code % largestVocabSize;
      const count = this.#pairCounts[this.#pairs.get(left, right)];
      heap.pop();
      if (count === claimed) return { left, right, count };
      if (count > 0) heap.push(-count, code);
    }
    return undefined;
  }

  merge(left: number, right: number, merged: number): void {
    const number = this.#pairs.get(left, right);
    const places = this.#places[number];
    this.#places[number] = [];
    const risen = new Set<number>();
    for (const word of places) this.#mergeIn(word, left, right, merged, risen);
    this.#pairCounts[number] = 0;
    for (const code of risen) this.#offer(Math.floor(code / largestVocabSize), code % largestVocabSize);
  }

  #mergeIn(word: number, left: number, right: number, merged: number, risen: Set<number>): void {
    const symbols = this.#symbols;
    const start = this.#starts[word];
    const end = start + this.#lengths[word];
    const count = this.#counts[word];
    let to = start;
    for (let from = start; from < end; from++) {
      if (symbols[from] !== left || from + 1 === end || symbols[from + 1] !== right) {
        symbols[to++] = symbols[from];
        continue;
      }
      if (to > start) this.#replace(symbols[to - 1], left, symbols[to - 1], merged, count, word, risen);
      if (from + 2 < end)
        this.#replace(right, symbols[from + 2], merged, symbols[from + 2], count, word, risen);
      symbols[to++] = merged;
      from++;
    }
    this.#lengths[word] = to - start;
  }

  /** One pair of neighbours has become another. */
  #replace(
    oldLeft: number,
    oldRight: number,
    left: number,
    right: number,
    count: number,
    word: number,
    risen: Set<number>,
  ): void {
    this.#pairCounts[this.#pairs.get(oldLeft, oldRight)] -= count;
    this.#add(left, right, count, word);
    risen.add(left * largestVocabSize + right);
  }

  #add(left: number, right: number, count: number, word: number): void {
    let number = this.#pairs.get(left, right);
    if (number < 0) {
      number = this.#places.length;
      this.#pairs.set(left, right, number);
      this.#places.push([]);
      if (number === this.#pairCounts.length) this.#pairCounts = grown(this.#pairCounts, 0);
    }
    this.#pairCounts[number] += count;
    const places = this.#places[number];
    if (places.at(-1) !== word) places.push(word);
  }

  #offer(left: number, right: number): void {
    const number = this.#pairs.get(left, right);
    const count = number < 0 ? 0 : this.#pairCounts[number];
    if (count > 0) this.#heap.push(-count, left * largestVocabSize + right);
  }
}
