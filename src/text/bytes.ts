import * as v from 'valibot';
import { allocateIds, type TokenIds } from './ids.js';
import {
  type SpecialTokenName,
  type SpecialTokens,
  specialTokensFrom,
  specialTokensJson,
} from './specialTokens.js';
import {
  characterwiseEncoder,
  checkId,
  type StreamDecoder,
  type StreamEncoder,
  type Tokenizer,
} from './tokenizer.js';

const byteCount = 256;

export const bytesJson = v.strictObject({ kind: v.literal('bytes'), specialTokens: specialTokensJson });

/** One token a byte of UTF-8: 256 ids, any text. A lone surrogate becomes U+FFFD, as everywhere in UTF-8. */
export class ByteTokenizer implements Tokenizer {
  readonly kind = 'bytes';
  readonly vocabSize: number;
  readonly unit = 'byte';
  readonly specialTokens: SpecialTokens;

  /** The special tokens take the ids from 256 on, in their order. */
  constructor(private readonly specialTokenNames: readonly SpecialTokenName[] = []) {
    this.vocabSize = byteCount + specialTokenNames.length;
    this.specialTokens = specialTokensFrom(byteCount, specialTokenNames);
  }

  static fromJSON({ specialTokens }: v.InferOutput<typeof bytesJson>): ByteTokenizer {
    return new ByteTokenizer(specialTokens);
  }

  encode(text: string): TokenIds {
    const bytes = new TextEncoder().encode(text);
    if (this.vocabSize === byteCount) return bytes;
    const ids = allocateIds(this.vocabSize, bytes.length);
    ids.set(bytes);
    return ids;
  }

  encoder(): StreamEncoder {
    return characterwiseEncoder(this);
  }

  /** Bytes that are no UTF-8 decode to U+FFFD. */
  decode(ids: ArrayLike<number>): string {
    const decoder = this.decoder();
    return decoder.write(ids) + decoder.end();
  }

  decoder(): StreamDecoder {
    // A byte order mark is a character like any other here, or decode(encode(text)) would lose it.
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      write: (ids) => {
        const bytes = new Uint8Array(ids.length);
        let length = 0;
        for (let i = 0; i < ids.length; i++) {
          checkId(ids[i], this.vocabSize);
          if (ids[i] < byteCount) bytes[length++] = ids[i];
        }
        return decoder.decode(bytes.subarray(0, length), { stream: true });
      },
      end: () => decoder.decode(),
    };
  }

  units(id: number): number {
    return id < byteCount ? 1 : 0;
  }

  toJSON(): v.InferOutput<typeof bytesJson> {
    const { kind, specialTokenNames: names } = this;
    return names.length === 0 ? { kind } : { kind, specialTokens: [...names] };
  }
}
