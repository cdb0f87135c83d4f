import * as v from 'valibot';
import { DataError } from '../errors.js';
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

const codePointLimit = 0x110000;

export const charactersJson = v.strictObject({
  kind: v.literal('characters'),
  characters: v.pipe(
    v.string(),
    v.nonEmpty('must hold at least one character'),
    v.maxLength(2 * codePointLimit),
    v.check(isSortedSet, 'must be distinct characters in the order of their code points'),
  ),
  specialTokens: specialTokensJson,
});

/**
 * One token a character (a Unicode code point): id i is the i-th of the sorted distinct characters it was built from. The
 * special tokens come after them.
 */
export class CharacterTokenizer implements Tokenizer {
  readonly kind = 'characters';
  readonly vocabSize: number;
  readonly unit = 'character';
  readonly specialTokens: SpecialTokens;
  readonly #characters: readonly string[];
  /** From code point to id, -1 where there is none. */
  readonly #ids: Int32Array;

  /** @param characters the distinct characters, sorted by code point */
  private constructor(
    characters: string,
    private readonly specialTokenNames: readonly SpecialTokenName[],
  ) {
    this.#characters = Array.from(characters);
    this.vocabSize = this.#characters.length + specialTokenNames.length;
    this.specialTokens = specialTokensFrom(this.#characters.length, specialTokenNames);
    this.#ids = new Int32Array(this.#characters.at(-1)!.codePointAt(0)! + 1).fill(-1);
    this.#characters.forEach((character, id) => {
      this.#ids[character.codePointAt(0)!] = id;
    });
  }

  /** The tokenizer of the characters of `text`; DataError where it is empty. */
  static fromText(text: string, specialTokens: readonly SpecialTokenName[] = []): CharacterTokenizer {
    const inventory = new CharacterInventory();
    inventory.add(text);
    return inventory.tokenizer(specialTokens);
  }

  static fromJSON(json: v.InferOutput<typeof charactersJson>): CharacterTokenizer {
    return new CharacterTokenizer(json.characters, json.specialTokens ?? []);
  }

  encode(text: string, offset = 0): TokenIds {
    const ids = allocateIds(this.vocabSize, text.length);
    let length = 0;
    for (let i = 0; i < text.length; i++) {
      const codePoint = text.codePointAt(i)!;
      const id = codePoint < this.#ids.length ? this.#ids[codePoint] : -1;
      if (id < 0) throw this.#unknown(codePoint, offset + i);
      ids[length++] = id;
      if (codePoint > 0xffff) i++;
    }
    return length === text.length ? ids : ids.slice(0, length);
  }

  encoder(offset = 0): StreamEncoder {
    return characterwiseEncoder(this, offset);
  }

  decode(ids: ArrayLike<number>): string {
    let text = '';
    for (let i = 0; i < ids.length; i++) {
      checkId(ids[i], this.vocabSize);
      text += this.#characters[ids[i]] ?? '';
    }
    return text;
  }

  decoder(): StreamDecoder {
    return { write: (ids) => this.decode(ids), end: () => '' };
  }

  units(id: number): number {
    return id < this.#characters.length ? 1 : 0;
  }

  toJSON(): v.InferOutput<typeof charactersJson> {
    const { kind, specialTokenNames: names } = this;
    const characters = this.#characters.join('');
    return names.length === 0 ? { kind, characters } : { kind, characters, specialTokens: [...names] };
  }

  #unknown(codePoint: number, offset: number): DataError {
    const character = String.fromCodePoint(codePoint);
    return new DataError(
      `unknown character ${JSON.stringify(character)} (${formatCodePoint(codePoint)}) at offset ${offset}: the tokenizer ` +
        `knows ${this.#characters.length} characters; leave it out, or train with text that has it or with the bytes tokenizer`,
      { character, codePoint, offset },
    );
  }
}

/** Gathers the distinct characters of a text that comes in pieces. */
export class CharacterInventory {
  readonly #seen = new Uint8Array(codePointLimit);

  /** Pieces must not part a surrogate pair; a lone surrogate is a DataError. */
  add(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const codePoint = text.codePointAt(i)!;
      if (codePoint >= 0xd800 && codePoint <= 0xdfff) {
        throw new DataError(
          `${formatCodePoint(codePoint)} at offset ${i} is half a surrogate pair, no character`,
          {
            codePoint,
            offset: i,
          },
        );
      }
      this.#seen[codePoint] = 1;
      if (codePoint > 0xffff) i++;
    }
  }

  /** DataError where no character was added. */
  tokenizer(specialTokens: readonly SpecialTokenName[] = []): CharacterTokenizer {
    let characters = '';
    for (let at = this.#seen.indexOf(1); at >= 0; at = this.#seen.indexOf(1, at + 1)) {
      characters += String.fromCodePoint(at);
    }
    if (characters === '') {
      throw new DataError(
        'the characters tokenizer is built from the characters of a text, but the text is empty',
      );
    }
    return CharacterTokenizer.fromJSON({
      kind: 'characters',
      characters,
      specialTokens: [...specialTokens],
    });
  }
}

const formatCodePoint = (codePoint: number): string =>
  `U+${codePoint.toString(16).toUpperCase().padStart(4, '0')}`;

function isSortedSet(characters: string): boolean {
  let previous = -1;
  for (const character of characters) {
    const codePoint = character.codePointAt(0)!;
    if (codePoint <= previous || (codePoint >= 0xd800 && codePoint <= 0xdfff)) return false;
    previous = codePoint;
  }
  return true;
}
