import { DataError } from '../errors.js';
import { Permutation } from '../random/permutation.js';
import { philox4x32, seedKey } from '../random/philox.js';

/** Fourth word of the Philox counter of every draw made here: 'ROWS'. */
const purpose = 0x524f5753;

/** The rows of one batch, all of which fit its bucket. */
export interface RowBatch {
  readonly bucket: number;
  /** At most as many as the bucket has. */
  readonly rows: readonly number[];
  /** Passes over the data begun before this batch's: what draws noise for a row anew each time. */
  readonly epoch: number;
}

/** Sorts rows into the first bucket they fit, by `bucketOf`, which gives -1 for a row that fits none. */
export class BucketedRows {
  /** Numbers of the rows of each bucket, ascending. */
  readonly buckets: readonly Uint32Array[];
  readonly skippedRows: number;
  /** Rows that are in a bucket. */
  readonly count: number;

  /** @throws DataError where no row fits any bucket; `part` names it in the message */
  constructor(count: number, bucketCount: number, bucketOf: (row: number) => number, part: string) {
    const places = new Int8Array(count);
    const sizes = new Array<number>(bucketCount).fill(0);
    let skippedRows = 0;
    for (let row = 0; row < count; row++) {
      places[row] = bucketOf(row);
      if (places[row] < 0) skippedRows++;
      else sizes[places[row]]++;
    }
    const buckets = sizes.map((size) => new Uint32Array(size));
    const filled = new Array<number>(bucketCount).fill(0);
    places.forEach((bucket, row) => {
      if (bucket >= 0) buckets[bucket][filled[bucket]++] = row;
    });
    this.buckets = buckets;
    this.skippedRows = skippedRows;
    this.count = count - skippedRows;
    if (this.count > 0) return;
    const why = count === 0 ? 'has no rows' : `has ${count} rows, but each is longer than the longest bucket`;
    throw new DataError(`the ${part} part ${why}; give it more data, or longer buckets`, { part, count });
  }
}

/**
 * The order in which training sees rows. Each epoch goes once through all of them; which rows share a batch and in which order batches
 * come are functions of (seed, epoch) alone. A batch has rows of one bucket, so lengths differ little within it; all epochs have
 * equally many batches, so that the batch of a step follows from the step's number.
 */
export class TrainingRowBatches {
  readonly batchesPerEpoch: number;
  readonly #firstBatch: number[] = [];
  #epoch = -1;
  #batches: Permutation | undefined;
  #rows: readonly (Permutation | undefined)[] = [];

  /** `rowsOf[b]` is how many rows a batch of bucket b takes. */
  constructor(
    private readonly bucketed: BucketedRows,
    private readonly rowsOf: readonly number[],
    private readonly seed: number,
  ) {
    let batches = 0;
    bucketed.buckets.forEach(({ length }, bucket) => {
      this.#firstBatch.push(batches);
      batches += Math.ceil(length / rowsOf[bucket]);
    });
    this.batchesPerEpoch = batches;
  }

  /** Batch `number`, counted from 0 through all epochs. */
  at(number: number): RowBatch {
    const epoch = Math.floor(number / this.batchesPerEpoch);
    this.#enter(epoch);
    const batch = this.#batches!.at(number % this.batchesPerEpoch);
    const bucket = this.#firstBatch.findLastIndex((first) => first <= batch);
    const rows = this.bucketed.buckets[bucket];
    const order = this.#rows[bucket]!;
    const first = (batch - this.#firstBatch[bucket]) * this.rowsOf[bucket];
    const count = Math.min(this.rowsOf[bucket], rows.length - first);
    return {
      bucket,
      epoch,
      rows: Array.from({ length: count }, (_, index) => rows[order.at(first + index)]),
    };
  }

  #enter(epoch: number): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    const key = seedKey(this.seed);
    const permutation = (size: number, stream: number) => {
      const words = philox4x32([epoch >>> 0, Math.floor(epoch / 2 ** 32), stream, purpose], key);
      return new Permutation(size, words[0], words[1]);
    };
    this.#batches = permutation(this.batchesPerEpoch, 0);
    this.#rows = this.bucketed.buckets.map(({ length }, bucket) =>
      length > 0 ? permutation(length, bucket + 1) : undefined,
    );
  }
}

/** Batches that go once through all rows, bucket by bucket and in order. */
export function evaluationRowBatches(bucketed: BucketedRows, rowsOf: readonly number[]): RowBatch[] {
  return bucketed.buckets.flatMap((rows, bucket) =>
    Array.from({ length: Math.ceil(rows.length / rowsOf[bucket]) }, (_, batch) => ({
      bucket,
      epoch: 0,
      rows: Array.from(rows.subarray(batch * rowsOf[bucket], (batch + 1) * rowsOf[bucket])),
    })),
  );
}

/** A bucket with the extents that a row must not exceed. */
export interface Extents {
  readonly length: number;
  readonly targetLength?: number;
}

/**
 * Up to `count` extents that waste little padding on rows of these lengths: rows in the order of their length are cut where each part
 * has about as many tokens, and each part's longest source and target are its extents.
 */
export function extentsFor(
  rows: readonly Required<Extents>[],
  { count, multiple = 1 }: { count: number; multiple?: number },
): Required<Extents>[] {
  const size = ({ length, targetLength }: Required<Extents>) => length + targetLength;
  const sorted = [...rows].sort(
    (a, b) => Math.max(a.length, a.targetLength) - Math.max(b.length, b.targetLength),
  );
  const total = sorted.reduce((sum, row) => sum + size(row), 0);
  const found: Required<Extents>[] = [];
  let [length, targetLength, done] = [0, 0, 0];
  sorted.forEach((row, index) => {
    length = Math.max(length, row.length);
    targetLength = Math.max(targetLength, row.targetLength);
    done += size(row);
    const isFull = done >= (total * (found.length + 1)) / count;
    if (!isFull && index < sorted.length - 1) return;
    const up = (value: number) => Math.ceil(value / multiple) * multiple;
    const extents = { length: up(length), targetLength: up(targetLength) };
    const last = found.at(-1);
    if (!last || last.length !== extents.length || last.targetLength !== extents.targetLength)
      found.push(extents);
  });
  return found;
}
