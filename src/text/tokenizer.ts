import { DataError } from '../errors.js';
import type { TokenIds } from './ids.js';

/** A JSON object that is all a tokenizer needs to be rebuilt. */
export type TokenizerJson = { readonly kind: string } & { readonly [key: string]: unknown };

/** Turns text into token ids and back. */
export interface Tokenizer {
  readonly kind: string;
  /** Ids run from 0 to `vocabSize - 1`. */
  readonly vocabSize: number;
  /** What lengths of text are counted in: losses per token become bits per this unit. */
  readonly unit: 'character' | 'byte';
  /**
   * @param text one piece of text; pieces of a longer one must not part a surrogate pair
   * @param offset where `text` begins in the longer one, for the message of the DataError that an unknown character causes
   */
  encode(text: string, offset?: number): TokenIds;
  /** The text of a whole sequence. An id that is out of range is a DataError. */
  decode(ids: ArrayLike<number>): string;
  /** Decodes a sequence that arrives in pieces. */
  decoder(): StreamDecoder;
  /** How many units of text the token stands for. */
  units(id: number): number;
  /** Everything `tokenizerFromJSON` needs. */
  toJSON(): TokenizerJson;
}

export interface StreamDecoder {
  /** The text that is complete once these ids have come. */
  write(ids: ArrayLike<number>): string;
  /** What is left when no more ids come: U+FFFD for an unfinished character, else nothing. */
  end(): string;
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
