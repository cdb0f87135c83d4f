import type { AddedToken } from './bpeDefinition.js';
import type { TokenIds } from './ids.js';
import type { Merge } from './mergeWord.js';
import { sectionEncoder } from './sections.js';
import { type SpecialTokens, specialTokensByContent } from './specialTokens.js';
import { TokenBytes } from './tokenBytes.js';
import {
  encodeWhole,
  type StreamDecoder,
  type StreamEncoder,
  type Tokenizer,
  type TokenizerJson,
} from './tokenizer.js';
import { type Symbols, WordEncoder } from './wordEncoder.js';

/** How SentencePiece writes a space. */
export const spaceMark = '▁';
/** A stretch of text without a space, such as a paragraph of Chinese, is cut here. */
const longestStretch = 1 << 14;

export interface SentencePieceDefinition {
  /** By id. */
  readonly names: readonly string[];
  readonly merges: readonly Merge[];
  /** Ids of the tokens that stand for single bytes, by byte; -1 where no character needs one. */
  readonly byteIds: readonly number[];
  readonly addedTokens: readonly AddedToken[];
  /** Whether a space is put before a text when it is encoded. */
  readonly prependsSpace: boolean;
  /** Whether a space at the beginning of a decoded text is taken away. */
  readonly stripsSpace: boolean;
  /** What it was read from. */
  readonly file: TokenizerJson;
}

/**
 * SentencePiece's BPE with byte fallback (Kudo & Richardson 2018), as Llama 2, Mistral and Gemma have it: merges begin with characters, and one that
 * has no token becomes the bytes of its UTF-8. No merge reaches from one word into the next, so that texts are encoded word by word.
 */
export class SentencePieceTokenizer implements Tokenizer {
  readonly kind = 'sentencepiece';
  readonly unit = 'character';
  readonly vocabSize: number;
  readonly specialTokens: SpecialTokens;
  readonly #bytes: TokenBytes;
  readonly #words: WordEncoder;

  /** The definition is trusted: `readSentencePieceJson` checks it. */
  constructor(private readonly definition: SentencePieceDefinition) {
    const { names, merges, byteIds, addedTokens } = definition;
    const special = new Map(
      addedTokens.filter((token) => token.special).map(({ content, id }) => [content, id]),
    );
    const added = new Map(addedTokens.map(({ id, content }) => [id, content]));
    const hidden = new Set(special.values());
    const utf8 = new TextEncoder();
    const bytes = names.map((name, id) =>
      hidden.has(id) ? new Uint8Array(0) : utf8.encode(added.get(id) ?? name.replaceAll(spaceMark, ' ')),
    );
    byteIds.forEach((id, byte) => {
      if (id >= 0) bytes[id] = Uint8Array.of(byte);
    });
    this.#bytes = new TokenBytes(bytes);
    this.vocabSize = names.length;
    this.specialTokens = specialTokensByContent(special);
    const taken = new Set([...added.keys(), ...byteIds]);
    this.#words = new WordEncoder(merges, new CharacterSymbols(names, taken, byteIds));
  }

  encode(text: string): TokenIds {
    return encodeWhole(this, this.encoder(), text);
  }

  encoder(): StreamEncoder {
    const { addedTokens, prependsSpace } = this.definition;
    const prefix = prependsSpace ? 'always' : 'never';
    return sectionEncoder({ addedTokens, pieceEnd: wordEnd, prefix }, this.#words, this.vocabSize);
  }

  decode(ids: ArrayLike<number>): string {
    const decoder = this.decoder();
    return decoder.write(ids) + decoder.end();
  }

  decoder(): StreamDecoder {
    const decoder = this.#bytes.decoder();
    let atStart = this.definition.stripsSpace;
    const stripped = (text: string): string => {
      if (!atStart || text === '') return text;
      atStart = false;
      return text.startsWith(' ') ? text.slice(1) : text;
    };
    return { write: (ids) => stripped(decoder.write(ids)), end: () => stripped(decoder.end()) };
  }

  units(id: number): number {
    return this.#bytes.units(id);
  }

  /** As in the file, but for what puts special tokens round a text. */
  toJSON(): TokenizerJson {
    return this.definition.file;
  }
}

/** Characters that are tokens, and the bytes of others. */
class CharacterSymbols implements Symbols {
  readonly #ids = new Map<string, number>();
  readonly #utf8 = new TextEncoder();

  constructor(
    names: readonly string[],
    taken: ReadonlySet<number>,
    private readonly byteIds: readonly number[],
  ) {
    names.forEach((name, id) => {
      if (taken.has(id) || String.fromCodePoint(name.codePointAt(0)!) !== name) return;
      this.#ids.set(name, id);
      if (name === spaceMark) this.#ids.set(' ', id);
    });
  }

  write(piece: string, to: Int32Array): number {
    let count = 0;
    for (const character of piece) {
      const id = this.#ids.get(character);
      const bytes = id === undefined ? this.#utf8.encode(character) : undefined;
      if (count + (bytes?.length ?? 1) > to.length) return -1;
      if (id !== undefined) to[count++] = id;
      else for (const byte of bytes!) to[count++] = this.byteIds[byte];
    }
    return count;
  }
}

const isSpace = (text: string, at: number): boolean => text[at] === ' ' || text[at] === spaceMark;

/** Where the spaces and the word end that begin at `start`. */
function wordEnd(text: string, start: number, end: number): number {
  const limit = Math.min(end, start + longestStretch);
  let at = start;
  while (at < limit && isSpace(text, at)) at++;
  while (at < limit && !isSpace(text, at)) at++;
  const partsCharacter = at < end && at === limit && (text.charCodeAt(at) & 0xfc00) === 0xdc00;
  return partsCharacter ? at - 1 : at;
}
