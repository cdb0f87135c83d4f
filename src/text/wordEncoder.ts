import type { BpeDefinition } from './bpeDefinition.js';
import { allocateIds, type TokenIds } from './ids.js';
import { WordMerger } from './mergeWord.js';
import { grown, WordTable } from './wordTable.js';

/** Words that are remembered with their tokens; as many again are forgotten at once. */
const rememberedWords = 1 << 16;
/** Longer pieces are encoded anew each time. */
const longestRememberedWord = 64;

/** Encodes pieces of text one after another, remembering those it has seen. */
export class WordEncoder {
  readonly #merger: WordMerger;
  readonly #byteIds = new Int32Array(256);
  /** Tokens that are pieces as they are, by their bytes in Latin-1. */
  readonly #whole = new Map<string, number>();
  readonly #utf8 = new TextEncoder();
  readonly #words = new WordTable();
  /** Tokens of word i are `#wordIds[#wordStarts[i]] … #wordIds[#wordStarts[i + 1] - 1]`. */
  readonly #wordStarts = new Int32Array(rememberedWords + 1);
  #wordIds = new Int32Array(4 * rememberedWords);
  #symbols = new Int32Array(256);
  #out = new Int32Array(1024);
  #outLength = 0;

  constructor({ tokens, merges, ignoreMerges }: BpeDefinition) {
    this.#merger = new WordMerger(merges);
    tokens.forEach((token, id) => {
      if (token?.length === 1) this.#byteIds[token[0]] = id;
      if (ignoreMerges && token) this.#whole.set(Buffer.from(token).toString('latin1'), id);
    });
  }

  push(id: number): void {
    this.#reserve(1);
    this.#out[this.#outLength++] = id;
  }

  encode(text: string, start: number, end: number): void {
    if (end - start > longestRememberedWord) {
      const count = this.#merge(text.slice(start, end));
      this.#reserve(count);
      this.#out.set(this.#symbols.subarray(0, count), this.#outLength);
      this.#outLength += count;
      return;
    }
    if (this.#words.size === rememberedWords) this.#words.clear();
    const known = this.#words.size;
    const word = this.#words.add(text, start, end);
    const from = this.#wordStarts[word];
    if (word === known) {
      const count = this.#merge(text.slice(start, end));
      if (from + count > this.#wordIds.length) this.#wordIds = grown(this.#wordIds, from + count);
      for (let i = 0; i < count; i++) this.#wordIds[from + i] = this.#symbols[i];
      this.#wordStarts[word + 1] = from + count;
    }
    const to = this.#wordStarts[word + 1];
    this.#reserve(to - from);
    for (let i = from; i < to; i++) this.#out[this.#outLength++] = this.#wordIds[i];
  }

  /** What has been encoded since the last call. */
  take(vocabSize: number): TokenIds {
    const ids = allocateIds(vocabSize, this.#outLength);
    ids.set(this.#out.subarray(0, this.#outLength));
    this.#outLength = 0;
    return ids;
  }

  #reserve(count: number): void {
    const needed = this.#outLength + count;
    if (needed > this.#out.length) this.#out = grown(this.#out, needed);
  }

  /** Leaves the tokens of a piece in `#symbols` and returns how many there are. */
  #merge(piece: string): number {
    const bytes = this.#utf8.encode(piece);
    if (this.#whole.size > 0) {
      const whole = this.#whole.get(Buffer.from(bytes).toString('latin1'));
      if (whole !== undefined) {
        this.#symbols[0] = whole;
        return 1;
      }
    }
    if (bytes.length > this.#symbols.length) this.#symbols = grown(this.#symbols, bytes.length);
    for (let i = 0; i < bytes.length; i++) this.#symbols[i] = this.#byteIds[bytes[i]];
    return this.#merger.merge(this.#symbols, bytes.length);
  }
}
