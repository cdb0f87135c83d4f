import type { DataError } from '../errors.js';
import type { BitReader } from './bzip2Bits.js';

const longestCode = 20;
/** Codes of up to so many bits are found by one look into a table. */
const tableBits = 10;

/** Reads the lengths of a Huffman code's words and makes the code. */
export function readHuffmanCode(
  input: BitReader,
  symbols: number,
  damaged: (why: string) => DataError,
): HuffmanCode {
  const lengths = new Uint8Array(symbols);
  let length = input.bits(5);
  for (let symbol = 0; symbol < symbols; symbol++) {
    for (;;) {
      if (length < 1 || length > longestCode) throw damaged('a code has words of no valid length');
      if (input.bits(1) === 0) break;
      length += input.bits(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  return new HuffmanCode(input, lengths, damaged);
}

/** A canonical Huffman code: words of one length are consecutive numbers, in the order of their symbols. */
export class HuffmanCode {
  /** Symbol and length of the word that a table entry begins with: 32 * symbol + length, 0 where the word is longer. */
  readonly #table = new Uint16Array(1 << tableBits);
  /** For each length: the first word above those of that length, and what to add to a word for its place in `#symbols`. */
  readonly #limits = new Int32Array(longestCode + 1);
  readonly #offsets = new Int32Array(longestCode + 1);
  readonly #symbols: Uint16Array;

  constructor(
    private readonly input: BitReader,
    lengths: Uint8Array,
    private readonly damaged: (why: string) => DataError,
  ) {
    this.#symbols = new Uint16Array(lengths.length);
    let word = 0;
    let place = 0;
    for (let length = 1; length <= longestCode; length++) {
      word <<= 1;
      this.#offsets[length] = place - word;
      lengths.forEach((its, symbol) => {
        if (its !== length) return;
        if (length <= tableBits) {
          const first = word << (tableBits - length);
          this.#table.fill(32 * symbol + length, first, first + (1 << (tableBits - length)));
        }
        this.#symbols[place++] = symbol;
        word++;
      });
      if (word > 1 << length) throw damaged('a code has more words than there can be');
      this.#limits[length] = word;
    }
  }

  /** Reads a symbol. */
  next(): number {
    const { input } = this;
    const bits = input.peek(longestCode);
    const entry = this.#table[bits >>> (longestCode - tableBits)];
    if (entry !== 0) {
      input.skip(entry & 31);
      return entry >>> 5;
    }
    for (let length = tableBits + 1; length <= longestCode; length++) {
      const word = bits >>> (longestCode - length);
      if (word >= this.#limits[length]) continue;
      input.skip(length);
      return this.#symbols[word + this.#offsets[length]];
    }
    throw this.damaged('a word is in no code; it is damaged');
  }
}
