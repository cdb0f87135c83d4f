import { DataError } from '../errors.js';
import { Permutation } from '../random/permutation.js';
import { type PhiloxKey, philox4x32, seedKey } from '../random/philox.js';
import type { TokenRange } from './split.js';

/** Fourth word of the Philox counter of every draw made here: 'DATA'. */
const purpose = 0x44415441;

/**
 * The order in which training sees a part. A window is `sequenceLength` input tokens and, one further on, as many targets. In
 * each epoch the windows lie end to end from a random offset and come in a random order; both are functions of (seed, epoch).
 * All epochs have equally many windows, so the window of a row follows from the row's number alone.
 */
export class TrainingWindows {
  readonly windowsPerEpoch: number;
  readonly #range: TokenRange;
  readonly #sequenceLength: number;
  readonly #key: PhiloxKey;
  readonly #largestOffset: number;
  #epoch = -1;
  #offset = 0;
  #order: Permutation | undefined;

  /** @throws DataError where the part is shorter than one window, `sequenceLength + 1` tokens */
  constructor(range: TokenRange, sequenceLength: number, seed: number) {
    const tokens = range.end - range.start;
    if (tokens < sequenceLength + 1) {
      throw new DataError(
        `the train part has ${tokens} tokens, but one window of sequenceLength ${sequenceLength} takes ` +
          `${sequenceLength + 1}; use a sequenceLength of at most ${Math.max(0, tokens - 1)}, more text, or a larger train fraction`,
        { tokens, sequenceLength },
      );
    }
    this.#range = range;
    this.#sequenceLength = sequenceLength;
    this.#key = seedKey(seed);
    this.windowsPerEpoch = Math.max(1, Math.floor((tokens - sequenceLength) / sequenceLength));
    const slack = tokens - 1 - this.windowsPerEpoch * sequenceLength;
    this.#largestOffset = Math.min(sequenceLength - 1, slack);
  }

  epochOf(row: number): number {
    return Math.floor(row / this.windowsPerEpoch);
  }

  /** Position in the source of the first input token of a row, counted from 0 through all epochs. */
  position(row: number): number {
    this.#enter(this.epochOf(row));
    const window = this.#order!.at(row % this.windowsPerEpoch);
    return this.#range.start + this.#offset + window * this.#sequenceLength;
  }

  #enter(epoch: number): void {
    if (epoch === this.#epoch) return;
    const [low, high] = [epoch >>> 0, Math.floor(epoch / 2 ** 32)];
    const words = philox4x32([low, high, 0, purpose], this.#key);
    this.#epoch = epoch;
    this.#offset = Math.floor(words[0] * 2 ** -32 * (this.#largestOffset + 1));
    this.#order = new Permutation(this.windowsPerEpoch, words[1], words[2]);
  }
}

/**
 * The windows that evaluation goes through, end to end and in order: every token of the part but its first is a target exactly
 * once. The last window may be shorter.
 */
export class EvaluationWindows {
  readonly count: number;
  /** Targets in all windows together. */
  readonly targets: number;
  readonly #range: TokenRange;
  readonly #sequenceLength: number;

  /** @throws DataError where the part has fewer than two tokens; `part` names it in the message */
  constructor(range: TokenRange, sequenceLength: number, part = 'valid') {
    const tokens = range.end - range.start;
    if (tokens < 2) {
      throw new DataError(
        `the ${part} part has ${tokens} tokens, but evaluation takes at least 2; give it a larger fraction of the split, or more text`,
        { tokens, part },
      );
    }
    this.#range = range;
    this.#sequenceLength = sequenceLength;
    this.targets = tokens - 1;
    this.count = Math.ceil(this.targets / sequenceLength);
  }

  /** The first input token of a window and how many it has. */
  window(index: number): { position: number; length: number } {
    const start = index * this.#sequenceLength;
    return {
      position: this.#range.start + start,
      length: Math.min(this.#sequenceLength, this.targets - start),
    };
  }
}
