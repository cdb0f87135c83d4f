import { allocateIds, type TokenIds } from './ids.js';
import { type Merge, WordMerger } from './mergeWord.js';
import { grown, WordTable } from './wordTable.js';

/** Words that are remembered with their tokens; as many again are forgotten at once. */
const rememberedWords = 1 << 16;
/** Longer pieces are encoded anew each time. */
const longestRememberedWord = 64;

/** What merging a piece of text begins with. */
export interface Symbols {
  /** Writes the ids of a piece's symbols to `to` and returns how many there are; -1 where they are more than it holds. */
  write(piece: string, to: Int32Array): number;
  /** The token that a piece is as it stands, whatever merges lead to. */
  whole?(piece: string): number | undefined;
}

/** The bytes of UTF-8. */
export class ByteSymbols implements Symbols {
  readonly #ids = new Int32Array(256);
  /** Tokens that are pieces as they are, by their bytes in Latin-1. */
  readonly #whole = new Map<string, number>();
  readonly #utf8 = new TextEncoder();

  constructor(tokens: readonly (Uint8Array | undefined)[], ignoreMerges: boolean) {
    tokens.forEach((token, id) => {
      if (token?.length === 1) this.#ids[token[0]] = id;
      if (ignoreMerges && token) this.#whole.set(Buffer.from(token).toString('latin1'), id);
    });
  }

  write(piece: string, to: Int32Array): number {
    const bytes = this.#utf8.encode(piece);
    if (bytes.length > to.length) return -1;
    for (let i = 0; i < bytes.length; i++) to[i] = this.#ids[bytes[i]];
    return bytes.length;
  }

  whole(piece: string): number | undefined {
    return this.#whole.size > 0 ? this.#whole.get(Buffer.from(piece, 'utf8').toString('latin1')) : undefined;
  }
}

/** Encodes pieces of text one after another, remembering those it has seen. */
export class WordEncoder {
  readonly #merger: WordMerger;
  readonly #words = new WordTable();
  /** Tokens of word i are `#wordIds[#wordStarts[i]] … #wordIds[#wordStarts[i + 1] - 1]`. */
  readonly #wordStarts = new Int32Array(rememberedWords + 1);
  #wordIds = new Int32Array(4 * rememberedWords);
  #symbols = new Int32Array(256);
  #out = new Int32Array(1024);
  #outLength = 0;

  constructor(
    merges: readonly Merge[],
    private readonly symbols: Symbols,
  ) {
    this.#merger = new WordMerger(merges);
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
    const whole = this.symbols.whole?.(piece);
    if (whole !== undefined) {
      this.#symbols[0] = whole;
      return 1;
    }
    let count = this.symbols.write(piece, this.#symbols);
    if (count < 0) {
      this.#symbols = grown(this.#symbols, 4 * piece.length); // a code unit is three bytes of UTF-8 at most
      count = this.symbols.write(piece, this.#symbols);
    }
    return this.#merger.merge(this.#symbols, count);
  }
}
