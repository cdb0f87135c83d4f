import type { DataError } from '../errors.js';

/** Bits of a stream of bytes, the highest of each byte first; `require` brings as many bytes as are needed into memory. */
export class BitReader {
  #bytes = new Uint8Array(0);
  /** Bytes that are there, and those that went into `#buffer`. */
  #end = 0;
  #at = 0;
  /** The last `#count` bits are not read yet. */
  #buffer = 0;
  #count = 0;
  readonly #source: AsyncIterator<Uint8Array>;
  #sourceEnded = false;

  constructor(
    source: AsyncIterable<Uint8Array>,
    private readonly damaged: (why: string) => DataError,
  ) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Sees to it that `bytes` more bytes are there, or all there are. */
  async require(bytes: number): Promise<void> {
    while (!this.#sourceEnded && this.#end - this.#at < bytes) {
      const { value, done } = await this.#source.next();
      if (done) this.#sourceEnded = true;
      else this.#append(value, bytes);
    }
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  /** Whether everything was read. */
  get ended(): boolean {
    return this.#sourceEnded && this.#at >= this.#end && this.#count === 0;
  }

  /** Whether more bits were read than there are; what was read beyond the end is zeros. */
  get overrun(): boolean {
    return this.#at - (this.#count >> 3) > this.#end;
  }

  /** The next bits, without reading them: 1 to 24. */
  peek(count: number): number {
    while (this.#count < count) {
      const byte = this.#at < this.#end ? this.#bytes[this.#at] : 0;
      this.#at++;
      this.#buffer = (this.#buffer << 8) | byte;
      this.#count += 8;
    }
    return (this.#buffer >>> (this.#count - count)) & ((1 << count) - 1);
  }

  /** Passes over bits that were peeked at. */
  skip(count: number): void {
    this.#count -= count;
  }

  /** Reads 1 to 24 bits. */
  bits(count: number): number {
    const value = this.peek(count);
    this.#count -= count;
    if (this.overrun) throw this.damaged('it has no end');
    return value;
  }

  /** 32 bits as a signed number. */
  word(): number {
    return (this.bits(16) << 16) | this.bits(16);
  }

  skipToByte(): void {
    this.#count -= this.#count % 8;
    // Bytes that were taken into the buffer, but not read, are there again.
    this.#at -= this.#count / 8;
    this.#count = 0;
  }

  #append(piece: Uint8Array, needed: number): void {
    const left = this.#end - this.#at;
    if (this.#end + piece.length > this.#bytes.length) {
      const bytes =
        left + piece.length > this.#bytes.length / 2
          ? new Uint8Array(2 * (needed + piece.length))
          : this.#bytes;
      bytes.set(this.#bytes.subarray(this.#at, this.#end));
      this.#bytes = bytes;
      this.#at = 0;
      this.#end = left;
    }
    this.#bytes.set(piece, this.#end);
    this.#end += piece.length;
  }
}
