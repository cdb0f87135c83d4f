import { ConfigError } from '../errors.js';
import { DocumentPlaces } from './documents.js';
import type { TokenRange } from './split.js';
import type { TokenSource } from './tokenSource.js';
import { EvaluationWindows, TrainingWindows } from './windows.js';

/** The target that counts for nothing. */
export const ignoredTarget = -1;

/** `batchSize` rows of `sequenceLength` tokens, row-major. `targets[t]` is the token that follows `inputIds[t]`. */
export interface Batch {
  readonly inputIds: Int32Array;
  readonly targets: Int32Array;
  /** With `packDocuments`: where in its row each token's document begins, and the token's place in it, counted from there. */
  readonly documentStarts?: Int32Array;
  readonly positionIds?: Int32Array;
}

export interface BatchShape {
  /** Rows of a batch. */
  readonly batchSize: number;
  /** Tokens of a row. */
  readonly sequenceLength: number;
  /** Rows say which of their tokens belong to one document, and the first token of the next is no target. Default false. */
  readonly packDocuments?: boolean;
}

export interface TrainingLoaderOptions extends BatchShape {
  /** An integer from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Batches of one step; default 1. */
  readonly gradientAccumulationSteps?: number;
}

/** Zeroed memory for one batch, to be filled again and again. */
export function allocateBatch({ batchSize, sequenceLength, packDocuments }: BatchShape): Batch {
  const array = () => new Int32Array(batchSize * sequenceLength);
  const batch = { inputIds: array(), targets: array() };
  return packDocuments ? { ...batch, documentStarts: array(), positionIds: array() } : batch;
}

function checkPositive(values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (Number.isSafeInteger(value) && value > 0) continue;
    throw new ConfigError(`${name} must be a positive integer, but it is ${value}`, { [name]: value });
  }
}

/** Reads one window at a time and sets it twice, the targets one token further on. */
class RowReader {
  readonly #source: TokenSource;
  readonly #sequenceLength: number;
  readonly #window: Int32Array;
  readonly documents: DocumentPlaces | undefined;

  constructor(source: TokenSource, { sequenceLength, packDocuments }: BatchShape) {
    this.#source = source;
    this.#sequenceLength = sequenceLength;
    this.#window = new Int32Array(sequenceLength + 1);
    if (packDocuments) this.documents = new DocumentPlaces(source);
  }

  /**
   * Fills a row with `length` tokens from `position`, the rest with inputs 0 and targets that count for nothing. Returns the
   * number of targets that count.
   */
  fill(into: Batch, row: number, position: number, length: number): number {
    const begin = row * this.#sequenceLength;
    const end = begin + this.#sequenceLength;
    if (length > 0) {
      this.#source.read(position, this.#window, 0, length + 1);
      into.inputIds.set(this.#window.subarray(0, length), begin);
      into.targets.set(this.#window.subarray(1, length + 1), begin);
    }
    into.inputIds.fill(0, begin + length, end);
    into.targets.fill(ignoredTarget, begin + length, end);
    return length - this.#separate(into, begin, position, length);
  }

  /** Parts the documents of a row; returns how many targets belong to another document than their inputs. */
  #separate(
    { targets, documentStarts, positionIds }: Batch,
    begin: number,
    position: number,
    length: number,
  ): number {
    if (!this.documents || !documentStarts || !positionIds) return 0;
    const end = begin + length;
    this.documents.describe(position, documentStarts.subarray(begin, end), positionIds.subarray(begin, end));
    documentStarts.fill(0, end, begin + this.#sequenceLength);
    positionIds.fill(0, end, begin + this.#sequenceLength);
    const first = this.documents.within({ start: position, end: position + length + 1 });
    for (const start of first) targets[begin + start - position - 1] = ignoredTarget;
    return first.length;
  }
}

/** Batches to train on. Each is a function of (seed, step, micro-step) alone: nothing needs to be remembered to go on. */
export class TrainingLoader {
  readonly shape: BatchShape;
  readonly windowsPerEpoch: number;
  readonly #microSteps: number;
  readonly #windows: TrainingWindows;
  readonly #rows: RowReader;

  /** @throws DataError where the range is shorter than one window; ConfigError where a size is no positive integer */
  constructor(source: TokenSource, range: TokenRange, options: TrainingLoaderOptions) {
    const { batchSize, sequenceLength, packDocuments, seed, gradientAccumulationSteps = 1 } = options;
    checkPositive({ batchSize, sequenceLength, gradientAccumulationSteps });
    this.shape = { batchSize, sequenceLength, packDocuments };
    this.#microSteps = gradientAccumulationSteps;
    this.#windows = new TrainingWindows(range, sequenceLength, seed);
    this.windowsPerEpoch = this.#windows.windowsPerEpoch;
    this.#rows = new RowReader(source, this.shape);
  }

  /**
   * @param step number of updates made before, from 0
   * @param microStep from 0 to gradientAccumulationSteps - 1
   * @param into filled and returned
   */
  batchAt(step: number, microStep: number, into: Batch): Batch {
    const { batchSize, sequenceLength } = this.shape;
    const first = this.#firstRow(step, microStep);
    for (let row = 0; row < batchSize; row++) {
      this.#rows.fill(into, row, this.#windows.position(first + row), sequenceLength);
    }
    return into;
  }

  /** Epochs begun and finished before `step`, with its fraction. */
  epochAt(step: number): number {
    return this.#firstRow(step, 0) / this.windowsPerEpoch;
  }

  #firstRow(step: number, microStep: number): number {
    return (step * this.#microSteps + microStep) * this.shape.batchSize;
  }
}

/**
 * Batches that go once through a part: every token of it but the first, and with `packDocuments` the first of each document, is a
 * target exactly once.
 */
export class EvaluationLoader {
  readonly shape: BatchShape;
  /** Number of batches. */
  readonly batches: number;
  /** Number of targets that count, in all batches together. */
  readonly targets: number;
  /** With `packDocuments`, positions of the part's tokens that are no targets because they begin a document. */
  readonly documentStarts: Float64Array;
  readonly #windows: EvaluationWindows;
  readonly #rows: RowReader;

  /** @throws DataError where the range has fewer than two tokens (`part` names it); ConfigError as above */
  constructor(source: TokenSource, range: TokenRange, shape: BatchShape, part = 'valid') {
    const { batchSize, sequenceLength } = shape;
    checkPositive({ batchSize, sequenceLength });
    this.shape = shape;
    this.#windows = new EvaluationWindows(range, sequenceLength, part);
    this.batches = Math.ceil(this.#windows.count / batchSize);
    this.#rows = new RowReader(source, shape);
    this.documentStarts = this.#rows.documents?.within(range) ?? new Float64Array(0);
    this.targets = this.#windows.targets - this.documentStarts.length;
  }

  /** Fills `into` with batch `index`; rows past the end are padding. Returns the number of targets that count. */
  batchAt(index: number, into: Batch): number {
    const { batchSize } = this.shape;
    let targets = 0;
    for (let row = 0; row < batchSize; row++) {
      const number = index * batchSize + row;
      const { position, length } =
        number < this.#windows.count ? this.#windows.window(number) : { position: 0, length: 0 };
      targets += this.#rows.fill(into, row, position, length);
    }
    return targets;
  }
}
