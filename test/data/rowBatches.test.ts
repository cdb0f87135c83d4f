import test from 'ava';
import fc from 'fast-check';
import { BucketedRows, evaluationRowBatches, extentsFor, TrainingRowBatches } from '#src/data/rowBatches.js';
import { checkAligned, memoryRows } from '#src/data/rows.js';
import { DataError } from '#src/errors.js';

const setting = fc.record({
  lengths: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 120 }),
  rowsOf: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 3, maxLength: 3 }),
  seed: fc.nat(),
});
const bounds = [8, 16, 24];
const bucketOf = (lengths: readonly number[]) => (row: number) =>
  bounds.findIndex((bound) => lengths[row] <= bound);
const fits = (lengths: readonly number[]) => lengths.some((length) => length <= 24);

test('an epoch meets each row that fits once, in batches of one bucket, and other epochs in another order', (t) => {
  fc.assert(
    fc.property(setting, fc.nat(3), ({ lengths, rowsOf, seed }, epoch) => {
      fc.pre(fits(lengths));
      const bucketed = new BucketedRows(lengths.length, 3, bucketOf(lengths), 'train');
      const batches = new TrainingRowBatches(bucketed, rowsOf, seed);
      const seen: number[] = [];
      for (let index = 0; index < batches.batchesPerEpoch; index++) {
        const batch = batches.at(epoch * batches.batchesPerEpoch + index);
        t.is(batch.epoch, epoch);
        t.true(batch.rows.length >= 1 && batch.rows.length <= rowsOf[batch.bucket]);
        for (const row of batch.rows) t.is(bucketOf(lengths)(row), batch.bucket);
        seen.push(...batch.rows);
      }
      const wanted = lengths.flatMap((length, row) => (length <= 24 ? [row] : []));
      t.deepEqual(
        seen.toSorted((a, b) => a - b),
        wanted,
      );
      t.is(bucketed.skippedRows, lengths.length - wanted.length);
    }),
  );
});

test('a batch is a function of seed and number, whatever was asked before', (t) => {
  const bucketed = new BucketedRows(100, 1, () => 0, 'train');
  const [forward, backward] = [1, 1].map((seed) => new TrainingRowBatches(bucketed, [7], seed));
  const numbers = Array.from({ length: 60 }, (_, number) => number);
  const there = numbers.map((number) => forward.at(number));
  const back = numbers.toReversed().map((number) => backward.at(number));
  t.deepEqual(back.toReversed(), there);
  t.notDeepEqual(new TrainingRowBatches(bucketed, [7], 2).at(0), there[0]);
  t.notDeepEqual(there[0].rows, there[forward.batchesPerEpoch].rows);
});

test('evaluation goes once through all rows in order', (t) => {
  fc.assert(
    fc.property(setting, ({ lengths, rowsOf }) => {
      fc.pre(fits(lengths));
      const bucketed = new BucketedRows(lengths.length, 3, bucketOf(lengths), 'valid');
      const batches = evaluationRowBatches(bucketed, rowsOf);
      t.deepEqual(
        batches.flatMap(({ rows }) => rows),
        bucketed.buckets.flatMap((rows) => [...rows]),
      );
    }),
  );
});

test('no row that fits is an error that names the part', (t) => {
  t.throws(() => new BucketedRows(3, 1, () => -1, 'valid'), {
    instanceOf: DataError,
    message: /valid part has 3 rows/,
  });
  t.throws(() => new BucketedRows(0, 1, () => 0, 'test'), { message: /test part has no rows/ });
});

test('at most eight extents hold every row', (t) => {
  const row = fc.record({
    length: fc.integer({ min: 1, max: 60 }),
    targetLength: fc.integer({ min: 1, max: 60 }),
  });
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 300 }), (rows) => {
      const extents = extentsFor(rows, { count: 8 });
      t.true(extents.length >= 1 && extents.length <= 8);
      for (const { length, targetLength } of rows) {
        t.true(extents.some((it) => length <= it.length && targetLength <= it.targetLength));
      }
    }),
  );
});

test('rows in memory read back, and unequal line counts are named', (t) => {
  const rows = memoryRows([Uint8Array.of(1, 2, 3), Uint8Array.of(), Uint8Array.of(4)], 5);
  t.deepEqual(
    [0, 1, 2].map((row) => rows.lengthOf(row)),
    [3, 0, 1],
  );
  const target = new Int32Array(3);
  rows.read(0, target, 0, 2);
  rows.read(2, target, 2, 1);
  t.deepEqual([...target], [1, 2, 4]);
  const files = [
    { count: 3, name: 'a.en' },
    { count: 4, name: 'a.de' },
  ] as const;
  t.throws(() => checkAligned(files[0], files[1]), {
    instanceOf: DataError,
    message: /a\.en has 3 lines but a\.de has 4/,
  });
});
