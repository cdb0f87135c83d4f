import { DataError } from '../errors.js';
import { allocateIds, type TokenIds } from './ids.js';
import type { SpecialTokens } from './specialTokens.js';

/** A JSON object that is all a tokenizer needs to be rebuilt. */
export type TokenizerJson = { readonly [key: string]: unknown };

/** Turns text into token ids and back. */
export interface Tokenizer {
  readonly kind: string;
  /** Ids run from 0 to `vocabSize - 1`. */
  readonly vocabSize: number;
  /** What lengths of text are counted in: losses per token become bits per this unit. */
  readonly unit: 'character' | 'byte' | 'word';
  /** Ids that stand for no text: they are put round texts, never made from them, and decode to nothing. */
  readonly specialTokens: SpecialTokens;
  /**
   * The tokens of a whole text; one that comes in pieces goes through `encoder`.
   *
   * @param offset where `text` begins in a longer one, for the message of the DataError that an unknown character causes
   */
  encode(text: string, offset?: number): TokenIds;
  /** Encodes a text that arrives in pieces, to the tokens of the whole; pieces must not part a surrogate pair. */
  encoder(offset?: number): StreamEncoder;
  /** The text of a whole sequence. An id that is out of range is a DataError. */
  decode(ids: ArrayLike<number>): string;
  /** Decodes a sequence that arrives in pieces. */
  decoder(): StreamDecoder;
  /** How many units of text the token stands for. */
  units(id: number): number;
  /** Everything `tokenizerFromJSON` needs. */
  toJSON(): TokenizerJson;
}

export interface StreamEncoder {
  /** The tokens that no later piece can change. */
  write(text: string): TokenIds;
  /** The rest of them, when no more text comes. */
  end(): TokenIds;
}

export interface StreamDecoder {
  /** The text that is complete once these ids have come. */
  write(ids: ArrayLike<number>): string;
  /** What is left when no more ids come: U+FFFD for an unfinished character, else nothing. */
  end(): string;
}

/** The tokens of a whole text, by an encoder that may hold some of them back until the text ends. */
export function encodeWhole(
  { vocabSize }: Pick<Tokenizer, 'vocabSize'>,
  encoder: StreamEncoder,
  text: string,
): TokenIds {
  const ids = encoder.write(text);
  const rest = encoder.end();
  if (rest.length === 0) return ids;
  if (ids.length === 0) return rest;
  const all = allocateIds(vocabSize, ids.length + rest.length);
  all.set(ids);
  all.set(rest, ids.length);
  return all;
}

/** The encoder of a tokenizer whose tokens never reach over the borders of characters. */
export function characterwiseEncoder(tokenizer: Tokenizer, offset = 0): StreamEncoder {
  let done = offset;
  return {
    write: (text) => {
      const ids = tokenizer.encode(text, done);
      done += text.length;
      return ids;
    },
    end: () => tokenizer.encode(''),
  };
}

/** Throws a DataError unless `id` is an integer in 0 … vocabSize - 1. */
export function checkId(id: number, vocabSize: number): void {
  if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
    throw new DataError(`token id ${id} is out of range: the tokenizer has ids 0 … ${vocabSize - 1}`, {
      id,
      vocabSize,
    });
  }
}
