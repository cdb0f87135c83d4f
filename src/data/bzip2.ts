// Decompression of bzip2 (Seward 1996; the format as Tsai wrote it down, "BZIP2: Format Specification", 2016): a file is one stream
// after another, a stream is blocks of at most 900,000 bytes, and a block is run lengths, the Burrows-Wheeler transform, moves to the
// front and Huffman codes. Memory is bounded whatever comes: by one block and the compressed bytes of one.
import { DataError } from '../errors.js';
import { BitReader } from './bzip2Bits.js';
import { readHuffmanCode } from './bzip2Codes.js';

const blockMagic = [0x314159, 0x265359];
const endMagic = [0x177245, 0x385090];
/** A block of bytes has at most one symbol a byte of at most 20 bits each, and tables before them. */
const largestBlock = 900_000;
const lookahead = (largestBlock * 20) / 8 + (1 << 18);
const pieceBytes = 1 << 18;
/** Symbols of a group, which share a code. */
const groupSize = 50;

/**
 * The bytes of a bzip2 file, also one of many streams (as Wikipedia's multistream dumps and pbzip2 write); checksums are verified.
 *
 * @param name what the DataError names where the file is cut off, damaged or no bzip2 file
 */
export async function* bunzip2(
  compressed: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array> {
  // What is read beyond the end is zeros, which make no sense sooner or later.
  const damaged = (why: string): DataError =>
    new DataError(`cannot decompress ${name}: ${input.overrun ? 'it was cut off' : why}`, { name });
  const input = new BitReader(compressed, damaged);
  const block = new Block(input, damaged);
  try {
    await input.require(lookahead);
    do {
      if (input.bits(24) !== 0x425a68) throw damaged('it does not begin as a bzip2 file or stream does');
      const level = input.bits(8) - 0x30;
      if (level < 1 || level > 9) throw damaged('its block size is not 1 to 9');
      let combined = 0;
      for (;;) {
        await input.require(lookahead);
        const magic = [input.bits(24), input.bits(24)];
        const checksum = input.word();
        if (same(magic, endMagic)) {
          if (checksum !== combined) throw damaged('its checksum is wrong; it is damaged');
          break;
        }
        if (!same(magic, blockMagic)) throw damaged('a block does not begin as one; it is damaged');
        block.read(level * 100_000);
        yield* block.pieces(checksum);
        combined = ((combined << 1) | (combined >>> 31)) ^ checksum;
      }
      input.skipToByte();
      await input.require(lookahead);
    } while (!input.ended);
  } finally {
    await input.close();
  }
}

const same = (a: readonly number[], b: readonly number[]): boolean => a[0] === b[0] && a[1] === b[1];

/** One block: read into the transformed bytes, then undone piece by piece. */
class Block {
  /** Low byte: the transformed byte; the rest: the place of the byte that follows it in the text. */
  readonly #links = new Uint32Array(largestBlock);
  readonly #counts = new Uint32Array(256);
  #length = 0;
  #first = 0;

  constructor(
    private readonly input: BitReader,
    private readonly damaged: (why: string) => DataError,
  ) {}

  /** Reads a block of at most `limit` bytes, run lengths of four and more not yet undone. */
  read(limit: number): void {
    const { input, damaged } = this;
    if (input.bits(1) === 1)
      throw damaged('it is of a version of bzip2 before 0.9.5, with randomised blocks');
    this.#first = input.bits(24);
    const front = this.#usedBytes();
    const groups = input.bits(3);
    const selectorCount = input.bits(15);
    if (groups < 2 || groups > 6 || selectorCount === 0) throw damaged('a block has no valid codes');
    const selectors = this.#selectors(groups, selectorCount);
    const symbols = front.length + 2;
    const codes = Array.from({ length: groups }, () => readHuffmanCode(input, symbols, damaged));
    this.#counts.fill(0);
    this.#length = this.#symbols(front, selectors, codes, limit);
    if (this.#first >= this.#length) throw damaged('a block begins outside itself');
    this.#link();
  }

  /** Which bytes the block holds, ascending: the list that moves to the front begin with. */
  #usedBytes(): Uint8Array {
    const { input } = this;
    const used: number[] = [];
    const ranges = input.bits(16);
    for (let range = 0; range < 16; range++) {
      if (((ranges >>> (15 - range)) & 1) === 0) continue;
      const bits = input.bits(16);
      for (let bit = 0; bit < 16; bit++) if ((bits >>> (15 - bit)) & 1) used.push(16 * range + bit);
    }
    if (used.length === 0) throw this.damaged('a block holds no bytes');
    return Uint8Array.from(used);
  }

  /** The code of each group of 50 symbols. */
  #selectors(groups: number, count: number): Uint8Array {
    const front = Uint8Array.from({ length: groups }, (_, index) => index);
    const selectors = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      let place = 0;
      while (this.input.bits(1) === 1) if (++place >= groups) throw this.damaged('a block names no code');
      const code = front[place];
      front.copyWithin(1, 0, place);
      front[0] = code;
      selectors[i] = code;
    }
    return selectors;
  }

  /** Undoes Huffman codes, runs of the byte at the front, and moves to the front. Returns the number of bytes. */
  #symbols(
    front: Uint8Array,
    selectors: Uint8Array,
    codes: readonly { next(): number }[],
    limit: number,
  ): number {
    const [links, counts, { damaged }] = [this.#links, this.#counts, this];
    const end = front.length + 1;
    let length = 0;
    let run = 0;
    let place = 1;
    for (let group = 0; group < selectors.length; group++) {
      const code = codes[selectors[group]];
      for (let i = 0; i < groupSize; i++) {
        const symbol = code.next();
        if (symbol <= 1) {
          // The length of a run in digits 1 and 2, the lowest first.
          run += place << symbol;
          place <<= 1;
          if (run > limit) throw damaged('a block is longer than it may be');
          continue;
        }
        if (run > 0) {
          if (length + run > limit) throw damaged('a block is longer than it may be');
          links.fill(front[0], length, length + run);
          counts[front[0]] += run;
          length += run;
          run = 0;
          place = 1;
        }
        if (symbol === end) return length;
        if (length >= limit) throw damaged('a block is longer than it may be');
        const byte = front[symbol - 1];
        for (let at = symbol - 1; at > 0; at--) front[at] = front[at - 1];
        front[0] = byte;
        links[length++] = byte;
        counts[byte]++;
      }
      if (this.input.overrun) throw damaged('a block has no end');
    }
    throw damaged('a block has no end');
  }

  /** The inverse of the Burrows-Wheeler transform (Burrows and Wheeler 1994, algorithm D): where each byte's successor stands. */
  #link(): void {
    const [links, counts] = [this.#links, this.#counts];
    let sum = 0;
    for (let byte = 0; byte < 256; byte++) {
      const count = counts[byte];
      counts[byte] = sum;
      sum += count;
    }
    for (let i = 0; i < this.#length; i++) links[counts[links[i] & 255]++] |= i << 8;
  }

  /** The text of the block; after four equal bytes comes a count of more of them. */
  *pieces(checksum: number): Generator<Uint8Array> {
    const links = this.#links;
    let piece = new Uint8Array(pieceBytes);
    let written = 0;
    let crc = -1;
    let at = links[this.#first] >>> 8;
    let last = -1;
    let equal = 0;
    for (let i = 0; i < this.#length; i++) {
      const link = links[at];
      const byte = link & 255;
      at = link >>> 8;
      if (equal === 4) {
        equal = 0;
        for (let count = byte; count > 0; count--) {
          crc = (crc << 8) ^ crcTable[(crc >>> 24) ^ last];
          piece[written++] = last;
        }
        last = -1;
      } else {
        equal = byte === last ? equal + 1 : 1;
        last = byte;
        crc = (crc << 8) ^ crcTable[(crc >>> 24) ^ byte];
        piece[written++] = byte;
      }
      if (written > pieceBytes - 256) {
        yield piece.subarray(0, written);
        piece = new Uint8Array(pieceBytes);
        written = 0;
      }
    }
    if (~crc !== checksum) throw this.damaged('the checksum of a block is wrong; it is damaged');
    if (written > 0) yield piece.subarray(0, written);
  }
}

/** CRC-32 with the highest bit first. */
const crcTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});
