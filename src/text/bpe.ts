import type { BpeDefinition } from './bpeDefinition.js';
import { Composer } from './composer.js';
import type { TokenIds } from './ids.js';
import { sectionEncoder } from './sections.js';
import { type SpecialTokens, specialTokensByContent } from './specialTokens.js';
import { pieceEnds } from './splitPattern.js';
import { TokenBytes } from './tokenBytes.js';
import {
  encodeWhole,
  type StreamDecoder,
  type StreamEncoder,
  type Tokenizer,
  type TokenizerJson,
} from './tokenizer.js';
import { bpeTokenizerJson } from './tokenizerJsonWriter.js';
import { ByteSymbols, WordEncoder } from './wordEncoder.js';

/** Byte-level byte-pair encoding (Sennrich et al. 2016, Radford et al. 2019): any text, and back again to the byte (as composed, where it is). */
export class BpeTokenizer implements Tokenizer {
  readonly kind = 'bpe';
  readonly unit = 'character';
  readonly vocabSize: number;
  readonly specialTokens: SpecialTokens;
  readonly #bytes: TokenBytes;
  readonly #words: WordEncoder;

  /** The definition is trusted: `tokenizerFromJSON`, `gpt2Tokenizer` and `BpeTrainer` check or make it. */
  constructor(readonly definition: BpeDefinition) {
    const { tokens, merges, addedTokens, ignoreMerges } = definition;
    const bytes = Array.from(tokens, (token) => token ?? new Uint8Array(0));
    for (const { id, content, special } of addedTokens) {
      bytes[id] = special ? new Uint8Array(0) : new TextEncoder().encode(content);
    }
    this.#bytes = new TokenBytes(bytes);
    this.vocabSize = bytes.length;
    this.#words = new WordEncoder(merges, new ByteSymbols(tokens, ignoreMerges));
    const special = addedTokens.filter((token) => token.special);
    this.specialTokens = specialTokensByContent(new Map(special.map(({ content, id }) => [content, id])));
  }

  encode(text: string): TokenIds {
    return encodeWhole(this, this.encoder(), text);
  }

  encoder(): StreamEncoder {
    const { addedTokens, pattern, addPrefixSpace, composes } = this.definition;
    const prefix = addPrefixSpace ? 'where missing' : 'never';
    const composer = composes ? new Composer() : undefined;
    const prepared = composer && ((text: string, last: boolean) => composer.write(text, last));
    const rules = { addedTokens, pieceEnd: pieceEnds[pattern], prefix } as const;
    return sectionEncoder(rules, this.#words, this.vocabSize, prepared);
  }

  decode(ids: ArrayLike<number>): string {
    return this.#bytes.decode(ids);
  }

  decoder(): StreamDecoder {
    return this.#bytes.decoder();
  }

  units(id: number): number {
    return this.#bytes.units(id);
  }

  toJSON(): TokenizerJson {
    return bpeTokenizerJson(this.definition);
  }
}
