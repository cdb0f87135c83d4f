import { DataError } from '../errors.js';
import type { TokenIds } from '../text/ids.js';
import { MemoryTokens, type TokenSource } from './tokenSource.js';

/** Sequences of token ids of different lengths, read by number. */
export interface TokenRows {
  readonly count: number;
  /** Every id is below it. */
  readonly vocabSize: number;
  lengthOf(row: number): number;
  /** Copies the first `length` ids of a row to `target` from `targetOffset` on. */
  read(row: number, target: Int32Array, targetOffset: number, length: number): void;
}

/** The ids of one row after another. */
export function* idsOf(rows: TokenRows): Generator<Int32Array> {
  for (let row = 0; row < rows.count; row++) {
    const ids = new Int32Array(rows.lengthOf(row));
    rows.read(row, ids, 0, ids.length);
    yield ids;
  }
}

/** The documents of a token source as rows: the lines of a file, say. Only their positions are in memory. */
export function documentRows(source: TokenSource): TokenRows {
  const starts = source.documents();
  const endOf = (row: number) => (row + 1 < starts.length ? starts[row + 1] : source.count);
  return {
    count: starts.length,
    vocabSize: source.vocabSize,
    lengthOf: (row) => endOf(row) - starts[row],
    read: (row, target, targetOffset, length) => source.read(starts[row], target, targetOffset, length),
  };
}

/** Rows in memory. */
export function memoryRows(rows: readonly TokenIds[], vocabSize: number): TokenRows {
  const starts = new Float64Array(rows.length);
  let count = 0;
  rows.forEach((row, index) => {
    starts[index] = count;
    count += row.length;
  });
  const ids = new Uint32Array(count);
  rows.forEach((row, index) => {
    ids.set(row, starts[index]);
  });
  return documentRows(new MemoryTokens(ids, vocabSize, starts));
}

/** Throws a DataError, which names both counts, unless two aligned files have equally many lines. */
export function checkAligned(
  source: { count: number; name: string },
  target: { count: number; name: string },
): void {
  if (source.count === target.count) return;
  throw new DataError(
    `${source.name} has ${source.count} lines but ${target.name} has ${target.count}; line-aligned files must have equally many`,
    { source: source.count, target: target.count },
  );
}
