import * as v from 'valibot';
import { checkId, type StreamDecoder, type Tokenizer } from './tokenizer.js';

export const bytesJson = v.strictObject({ kind: v.literal('bytes') });

/** One token a byte of UTF-8: 256 ids, any text. A lone surrogate becomes U+FFFD, as everywhere in UTF-8. */
export class ByteTokenizer implements Tokenizer {
  readonly kind = 'bytes';
  readonly vocabSize = 256;
  readonly unit = 'byte';

  static fromJSON(_json: v.InferOutput<typeof bytesJson>): ByteTokenizer {
    return new ByteTokenizer();
  }

  encode(text: string): Uint8Array {
    return new TextEncoder().encode(text);
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
        const bytes = Uint8Array.from(ids, (id) => {
          checkId(id, this.vocabSize);
          return id;
        });
        return decoder.decode(bytes, { stream: true });
      },
      end: () => decoder.decode(),
    };
  }

  units(): number {
    return 1;
  }

  toJSON(): v.InferOutput<typeof bytesJson> {
    return { kind: this.kind };
  }
}
