import test from 'ava';
import fc from 'fast-check';
import {
  allocateBatch,
  type Batch,
  EvaluationLoader,
  ignoredTarget,
  TrainingLoader,
} from '#src/data/loader.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { TrainingWindows } from '#src/data/windows.js';
import { ConfigError, DataError } from '#src/errors.js';

/** Every token is its own position, so that a batch shows where it comes from. */
const positions = (count: number): MemoryTokens =>
  new MemoryTokens(
    Uint32Array.from({ length: count }, (_, i) => i),
    Math.max(count, 65_537),
  );

const setting = fc.record({
  sequenceLength: fc.integer({ min: 1, max: 40 }),
  extra: fc.nat(600),
  start: fc.nat(100),
  batchSize: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(),
});

test('training rows are runs of the part, targets one further on', (t) => {
  fc.assert(
    fc.property(setting, fc.nat(1000), ({ sequenceLength, extra, start, batchSize, seed }, step) => {
      const range = { start, end: start + sequenceLength + 1 + extra };
      const loader = new TrainingLoader(positions(range.end + 50), range, {
        batchSize,
        sequenceLength,
        seed,
      });
      const { inputIds, targets } = loader.batchAt(step, 0, allocateBatch(loader.shape));
      for (let i = 0; i < inputIds.length; i++) {
        t.is(targets[i], inputIds[i] + 1);
        if (i % sequenceLength > 0) t.is(inputIds[i], inputIds[i - 1] + 1);
        t.true(inputIds[i] >= range.start && targets[i] < range.end);
      }
    }),
  );
});

test('an epoch meets each of its windows once, and they do not overlap', (t) => {
  fc.assert(
    fc.property(setting, fc.nat(3), ({ sequenceLength, extra, start, seed }, epoch) => {
      const range = { start, end: start + sequenceLength + 1 + extra };
      const windows = new TrainingWindows(range, sequenceLength, seed);
      const count = windows.windowsPerEpoch;
      const begins = Array.from({ length: count }, (_, i) => windows.position(epoch * count + i)).sort(
        (a, b) => a - b,
      );
      begins.forEach((begin, i) => {
        if (i > 0) t.is(begin, begins[i - 1] + sequenceLength);
      });
      t.true(begins[0] >= range.start && begins[0] - range.start < sequenceLength);
      t.true(begins[count - 1] + sequenceLength + 1 <= range.end);
      // less than two windows' worth of targets is left out at the two ends together
      t.true(range.end - range.start - 1 - count * sequenceLength < 2 * sequenceLength);
    }),
  );
});

test('epochs differ in order and offset, and every offset comes up', (t) => {
  const sequenceLength = 8;
  const windows = new TrainingWindows({ start: 0, end: 1000 }, sequenceLength, 1);
  const count = windows.windowsPerEpoch;
  const epochs = Array.from({ length: 100 }, (_, epoch) =>
    Array.from({ length: count }, (_, i) => windows.position(epoch * count + i)),
  );
  t.is(new Set(epochs.map((begins) => begins.join())).size, 100);
  t.is(new Set(epochs.map((begins) => begins[0] % sequenceLength)).size, sequenceLength);
});

test('a batch is a function of seed and step, whatever was asked before', (t) => {
  const options = { batchSize: 4, sequenceLength: 5, seed: 42, gradientAccumulationSteps: 3 };
  const range = { start: 3, end: 150 };
  const inputs = (loader: TrainingLoader, step: number, micro: number): number[] => [
    ...loader.batchAt(step, micro, allocateBatch(loader.shape)).inputIds,
  ];
  const forward = new TrainingLoader(positions(200), range, options);
  const backward = new TrainingLoader(positions(200), range, options);
  const steps = Array.from({ length: 60 }, (_, i) => [Math.floor(i / 3), i % 3]);
  const seen = steps.map(([step, micro]) => inputs(forward, step, micro));
  const again = [...steps].reverse().map(([step, micro]) => inputs(backward, step, micro));
  t.deepEqual(again.reverse(), seen);
  const other = new TrainingLoader(positions(200), range, { ...options, seed: 43 });
  t.notDeepEqual(inputs(other, 0, 0), seen[0]);
});

test('micro-steps and steps follow each other through the epoch without gap or repetition', (t) => {
  const loader = new TrainingLoader(
    positions(400),
    { start: 0, end: 400 },
    {
      batchSize: 3,
      sequenceLength: 4,
      seed: 0,
      gradientAccumulationSteps: 2,
    },
  );
  const begins: number[] = [];
  const batch = allocateBatch(loader.shape);
  const steps = Math.ceil(loader.windowsPerEpoch / 6);
  for (let step = 0; step < steps; step++) {
    for (let micro = 0; micro < 2; micro++) {
      loader.batchAt(step, micro, batch);
      for (let row = 0; row < 3; row++) begins.push(batch.inputIds[row * 4]);
    }
  }
  const epoch = begins.slice(0, loader.windowsPerEpoch);
  t.is(new Set(epoch).size, loader.windowsPerEpoch);
  t.is(loader.epochAt(0), 0);
  t.is(loader.epochAt(loader.windowsPerEpoch), 6);
});

test('one window is enough to train on, one token less is not', (t) => {
  const options = { batchSize: 2, sequenceLength: 10, seed: 0 };
  const loader = new TrainingLoader(positions(11), { start: 0, end: 11 }, options);
  t.is(loader.windowsPerEpoch, 1);
  t.is(loader.batchAt(5, 0, allocateBatch(options)).inputIds[10], 0);
  t.throws(() => new TrainingLoader(positions(11), { start: 1, end: 11 }, options), {
    instanceOf: DataError,
    message: /has 10 tokens, but one window of sequenceLength 10 takes 11; use a sequenceLength of at most 9/,
  });
});

test('evaluation counts every token but the first as a target exactly once', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 400 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 7 }),
      (tokens, sequenceLength, batchSize) => {
        const start = 20;
        const loader = new EvaluationLoader(
          positions(start + tokens + 5),
          { start, end: start + tokens },
          { batchSize, sequenceLength },
        );
        const seen: number[] = [];
        const batch = allocateBatch(loader.shape);
        let counted = 0;
        for (let index = 0; index < loader.batches; index++) {
          batch.inputIds.fill(99_999);
          batch.targets.fill(99_999);
          counted += loader.batchAt(index, batch);
          batch.targets.forEach((target, i) => {
            if (target === ignoredTarget) t.is(batch.inputIds[i], 0);
            else {
              t.is(target, batch.inputIds[i] + 1);
              seen.push(target);
            }
          });
        }
        t.deepEqual(
          seen,
          Array.from({ length: tokens - 1 }, (_, i) => start + 1 + i),
        );
        t.is(counted, tokens - 1);
        t.is(loader.targets, tokens - 1);
      },
    ),
  );
});

test('evaluation needs two tokens and names the part', (t) => {
  t.throws(
    () =>
      new EvaluationLoader(positions(9), { start: 8, end: 9 }, { batchSize: 1, sequenceLength: 4 }, 'test'),
    {
      instanceOf: DataError,
      message: /the test part has 1 tokens, but evaluation takes at least 2/,
    },
  );
});

test('sizes must be positive integers', (t) => {
  const range = { start: 0, end: 100 };
  for (const bad of [0, -1, 1.5, Number.NaN]) {
    for (const name of ['batchSize', 'sequenceLength', 'gradientAccumulationSteps']) {
      const options = { batchSize: 1, sequenceLength: 4, seed: 0, [name]: bad };
      t.throws(() => new TrainingLoader(positions(100), range, options), {
        instanceOf: ConfigError,
        message: `${name} must be a positive integer, but it is ${bad}`,
      });
    }
  }
});

const lengths = fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 30 });

test('packed rows say where documents begin, and no target is the first token of one', (t) => {
  fc.assert(
    fc.property(
      lengths,
      fc.integer({ min: 1, max: 20 }),
      fc.nat(),
      fc.nat(50),
      (sizes, sequenceLength, seed, step) => {
        const starts: number[] = [];
        let count = 0;
        for (const size of sizes) {
          starts.push(count);
          count += size;
        }
        if (count < sequenceLength + 1) return;
        const tokens = Uint32Array.from({ length: count }, (_, i) => i);
        const source = new MemoryTokens(tokens, count, starts);
        const shape = { batchSize: 3, sequenceLength, packDocuments: true };
        const check = ({ inputIds, targets, documentStarts, positionIds }: Batch): number => {
          let counted = 0;
          for (let i = 0; i < inputIds.length; i++) {
            const row = i - (i % sequenceLength);
            const place = documentStarts![i];
            const begins = starts.findLast((start) => start <= inputIds[i])!;
            // Where the document begins before the row, the row begins it.
            if (targets[i] >= 0 || inputIds[i] > 0) {
              t.is(inputIds[row + place], Math.max(begins, inputIds[row]));
              t.is(positionIds![i], (i % sequenceLength) - place);
            }
            if (targets[i] >= 0) {
              counted++;
              t.is(targets[i], inputIds[i] + 1);
              t.false(starts.includes(targets[i]));
            }
          }
          return counted;
        };
        const range = { start: 0, end: count };
        const training = new TrainingLoader(source, range, { ...shape, seed });
        check(training.batchAt(step, 0, allocateBatch(shape)));
        const [first, again] = [0, 1].map(() => training.batchAt(step, 0, allocateBatch(shape)));
        t.deepEqual(first, again);

        const evaluation = new EvaluationLoader(source, range, shape);
        let targets = 0;
        const batch = allocateBatch(shape);
        for (let index = 0; index < evaluation.batches; index++) {
          const counted = evaluation.batchAt(index, batch);
          t.is(batch.targets.filter((target) => target >= 0).length, counted);
          targets += counted;
        }
        t.is(targets, evaluation.targets);
        const first1 = new Set(starts.filter((start) => start > 0 && start < count));
        t.is(targets, count - 1 - first1.size);
      },
    ),
  );
});
