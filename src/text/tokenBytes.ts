import { checkId, type StreamDecoder } from './tokenizer.js';

/** The bytes of UTF-8 that tokens stand for; a character may be parted between tokens. */
export class TokenBytes {
  readonly vocabSize: number;
  /** Characters that begin in a token. */
  readonly #units: Uint32Array;

  /** @param bytes by id; empty for what stands for no text */
  constructor(private readonly bytes: readonly Uint8Array[]) {
    this.vocabSize = bytes.length;
    this.#units = Uint32Array.from(bytes, charactersIn);
  }

  units(id: number): number {
    return this.#units[id];
  }

  decode(ids: ArrayLike<number>): string {
    const decoder = this.decoder();
    return decoder.write(ids) + decoder.end();
  }

  decoder(): StreamDecoder {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      write: (ids) => decoder.decode(this.#join(ids), { stream: true }),
      end: () => decoder.decode(),
    };
  }

  #join(ids: ArrayLike<number>): Uint8Array {
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      checkId(ids[i], this.vocabSize);
      length += this.bytes[ids[i]].length;
    }
    const joined = new Uint8Array(length);
    for (let i = 0, at = 0; i < ids.length; i++) {
      const token = this.bytes[ids[i]];
      for (let k = 0; k < token.length; k++) joined[at++] = token[k];
    }
    return joined;
  }
}

/** A character is counted where it begins: at every byte of UTF-8 that is no continuation. */
function charactersIn(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if ((byte & 0xc0) !== 0x80) count++;
  return count;
}
