import { DataError } from '../errors.js';
import type { TokenIds } from '../text/ids.js';

/** A long sequence of token ids that is read by position. */
export interface TokenSource {
  /** Number of tokens. */
  readonly count: number;
  /** Every id is below it. */
  readonly vocabSize: number;
  /** Position of the first token of every document, ascending; the first is 0. */
  documents(): Float64Array;
  /** Copies the ids at `position … position + length - 1` to `target` from `targetOffset` on. */
  read(position: number, target: Int32Array, targetOffset: number, length: number): void;
}

/** Throws a RangeError unless both ends of a copy are within their sequences. */
export function checkRead(
  source: TokenSource,
  position: number,
  target: Int32Array,
  targetOffset: number,
  length: number,
): void {
  const inSource = Number.isSafeInteger(position) && position >= 0 && position + length <= source.count;
  const inTarget =
    Number.isInteger(targetOffset) && targetOffset >= 0 && targetOffset + length <= target.length;
  if (!Number.isInteger(length) || length < 0 || !inSource || !inTarget) {
    throw new RangeError(
      `cannot read ${length} tokens from position ${position} of ${source.count} to offset ${targetOffset} of ${target.length}`,
    );
  }
}

/** Copies ids and throws a DataError where one is not below `vocabSize`. */
export function copyIds(
  ids: TokenIds,
  target: Int32Array,
  targetOffset: number,
  vocabSize: number,
  what: string,
): void {
  let largest = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (id > largest) largest = id;
    target[targetOffset + i] = id;
  }
  if (largest >= vocabSize) {
    throw new DataError(`${what} holds the token id ${largest}, but its vocabulary has ${vocabSize} tokens`, {
      id: largest,
      vocabSize,
    });
  }
}

/** Tokens in memory. */
export class MemoryTokens implements TokenSource {
  readonly count: number;
  readonly vocabSize: number;
  readonly #ids: TokenIds;
  readonly #documents: Float64Array;

  constructor(ids: TokenIds, vocabSize: number, documents: ArrayLike<number> = [0]) {
    this.count = ids.length;
    this.vocabSize = vocabSize;
    this.#ids = ids;
    this.#documents = Float64Array.from(documents);
  }

  documents(): Float64Array {
    return this.#documents.slice();
  }

  read(position: number, target: Int32Array, targetOffset: number, length: number): void {
    checkRead(this, position, target, targetOffset, length);
    copyIds(
      this.#ids.subarray(position, position + length),
      target,
      targetOffset,
      this.vocabSize,
      'the token array',
    );
  }
}
