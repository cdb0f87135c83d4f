import type { BpeDefinition } from './bpeDefinition.js';
import { Composer } from './composer.js';
import type { TokenIds } from './ids.js';
import { Sections } from './sections.js';
import { type SpecialTokens, specialTokensByContent } from './specialTokens.js';
import {
  checkId,
  encodeWhole,
  type StreamDecoder,
  type StreamEncoder,
  type Tokenizer,
  type TokenizerJson,
} from './tokenizer.js';
import { bpeTokenizerJson } from './tokenizerJsonWriter.js';
import { WordEncoder } from './wordEncoder.js';

/** Byte-level byte-pair encoding (Sennrich et al. 2016, Radford et al. 2019): any text, and back again to the byte (as composed, where it is). */
export class BpeTokenizer implements Tokenizer {
  readonly kind = 'bpe';
  readonly unit = 'character';
  readonly vocabSize: number;
  readonly specialTokens: SpecialTokens;
  readonly #bytes: readonly Uint8Array[];
  /** Characters that begin in a token. */
  readonly #units: Uint32Array;
  readonly #words: WordEncoder;

  /** The definition is trusted: `tokenizerFromJSON`, `gpt2Tokenizer` and `BpeTrainer` check or make it. */
  constructor(readonly definition: BpeDefinition) {
    const { tokens, addedTokens } = definition;
    const bytes = Array.from(tokens, (token) => token ?? new Uint8Array(0));
    for (const { id, content, special } of addedTokens) {
      bytes[id] = special ? new Uint8Array(0) : new TextEncoder().encode(content);
    }
    this.#bytes = bytes;
    this.vocabSize = bytes.length;
    this.#units = Uint32Array.from(bytes, charactersIn);
    this.#words = new WordEncoder(definition);
    const special = addedTokens.filter((token) => token.special);
    this.specialTokens = specialTokensByContent(new Map(special.map(({ content, id }) => [content, id])));
  }

  encode(text: string): TokenIds {
    return encodeWhole(this, this.encoder(), text);
  }

  encoder(): StreamEncoder {
    const sections = new Sections(this.definition, this.#words);
    const composer = this.definition.composes ? new Composer() : undefined;
    const take = (text: string, last: boolean): TokenIds => {
      sections.write(composer ? composer.write(text, last) : text, last);
      return this.#words.take(this.vocabSize);
    };
    return { write: (text) => take(text, false), end: () => take('', true) };
  }

  decode(ids: ArrayLike<number>): string {
    const decoder = this.decoder();
    return decoder.write(ids) + decoder.end();
  }

  decoder(): StreamDecoder {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      write: (ids) => decoder.decode(this.#bytesOf(ids), { stream: true }),
      end: () => decoder.decode(),
    };
  }

  units(id: number): number {
    return this.#units[id];
  }

  toJSON(): TokenizerJson {
    return bpeTokenizerJson(this.definition);
  }

  #bytesOf(ids: ArrayLike<number>): Uint8Array {
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      checkId(ids[i], this.vocabSize);
      length += this.#bytes[ids[i]].length;
    }
    const bytes = new Uint8Array(length);
    for (let i = 0, at = 0; i < ids.length; i++) {
      const token = this.#bytes[ids[i]];
      for (let k = 0; k < token.length; k++) bytes[at++] = token[k];
    }
    return bytes;
  }
}

/** A character is counted where it begins: at every byte of UTF-8 that is no continuation. */
function charactersIn(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if ((byte & 0xc0) !== 0x80) count++;
  return count;
}
