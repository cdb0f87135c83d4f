import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { MemoryTokens, type TokenSource } from '#src/data/tokenSource.js';
import { CheckpointError, ConfigError, TrainingError } from '#src/errors.js';
import { causal } from '#src/objectives/causal.js';
import type { StepEvent, TrainingEvent } from '#src/train/events.js';
import { adamw, sgd } from '#src/train/optimizer.js';
import { eventsOf, temporaryFolder, tinyData, tinyTrainer } from './tiny.js';

const stepsOf = (events: readonly TrainingEvent[]) =>
  events.filter((event): event is StepEvent => event.event === 'step');
const lossesOf = (events: readonly TrainingEvent[]) => stepsOf(events).map(({ loss }) => loss);
const weightsOf = async (folder: string) =>
  readFileSync(join((await openCheckpoint(folder, { prefer: 'latest' })).folder, 'model.safetensors'));

test('the loss falls, and the last event sums the run up', async (t) => {
  const events = await eventsOf(tinyTrainer({ maxSteps: 40, batchSize: 8 }));
  const losses = lossesOf(events);
  t.is(losses.length, 40);
  t.true(losses.at(-1)! < 0.8 * losses[0], `${losses[0]} fell to ${losses.at(-1)} only`);
  const done = events.at(-1)!;
  t.true(
    done.event === 'done' && done.step === 40 && done.reason === 'finished' && done.validLoss! < losses[0],
  );
});

test('one thread or two, twice the same: losses are equal to the last bit', async (t) => {
  const dropout = { dropout: 0.1 };
  const one = lossesOf(await eventsOf(tinyTrainer({}, dropout)));
  t.deepEqual(lossesOf(await eventsOf(tinyTrainer({}, dropout))), one);
  t.deepEqual(lossesOf(await eventsOf(tinyTrainer({ threads: 2 }, dropout))), one);
  t.notDeepEqual(lossesOf(await eventsOf(tinyTrainer({ seed: 8 }, dropout))), one);
});

test('a run stopped and resumed writes the same log and weights as one that was not', async (t) => {
  const folder = temporaryFolder(t);
  const [whole, parted] = [join(folder, 'whole'), join(folder, 'parted')];
  const options = { maxSteps: 40, evalEvery: 8, checkpointEvery: 10 };
  await eventsOf(tinyTrainer({ ...options, out: whole }, { dropout: 0.1 }));

  const stop = new AbortController();
  const trainer = tinyTrainer({ ...options, out: parted }, { dropout: 0.1 });
  for await (const event of trainer.run({ signal: stop.signal })) {
    if (event.event === 'step' && event.step === 16) stop.abort(); // an evaluation is due here
  }
  await trainer.close();
  // The last checkpoint is lost: the run goes back to an earlier one, and so does its log.
  await eventsOf(tinyTrainer({ ...options, maxSteps: 40, out: parted, resume: true }, { dropout: 0.1 }));
  t.is(
    readFileSync(join(parted, 'metrics.jsonl'), 'utf8'),
    readFileSync(join(whole, 'metrics.jsonl'), 'utf8'),
  );
  t.deepEqual(await weightsOf(parted), await weightsOf(whole));

  rmSync(join(parted, 'checkpoints', 'step-000040'), { recursive: true });
  await eventsOf(tinyTrainer({ ...options, out: parted, resume: true }, { dropout: 0.1 }));
  t.is(
    readFileSync(join(parted, 'metrics.jsonl'), 'utf8'),
    readFileSync(join(whole, 'metrics.jsonl'), 'utf8'),
  );
  t.deepEqual(await weightsOf(parted), await weightsOf(whole));
});

test('accumulating two micro-steps equals one step of twice the rows', async (t) => {
  const together = await eventsOf(tinyTrainer({ batchSize: 4, maxSteps: 10 }));
  const summed = await eventsOf(tinyTrainer({ batchSize: 2, gradientAccumulationSteps: 2, maxSteps: 10 }));
  stepsOf(together).forEach((step, index) => {
    const other = stepsOf(summed)[index];
    t.true(Math.abs(step.loss - other.loss) < 2e-5, `step ${step.step}: ${step.loss} and ${other.loss}`);
    t.true(Math.abs(step.gradientNorm / other.gradientNorm - 1) < 1e-4);
  });
});

test('accumulation with dropout draws other masks for each micro-step, the same ones each run', async (t) => {
  const run = () =>
    eventsOf(tinyTrainer({ batchSize: 2, gradientAccumulationSteps: 3, maxSteps: 6 }, { dropout: 0.2 }));
  t.deepEqual(lossesOf(await run()), lossesOf(await run()));
});

test('gradients that are not finite change nothing, are counted, and end the run after a while', async (t) => {
  const trainer = tinyTrainer({ maxSkippedSteps: 3, optimizer: adamw({ learningRate: 1e30 }), maxSteps: 50 });
  const events: TrainingEvent[] = [];
  const error = await t.throwsAsync(
    async () => {
      for await (const event of trainer.run()) events.push(event);
    },
    { instanceOf: TrainingError },
  );
  await trainer.close();
  t.regex(error.message, /3 steps in a row were not finite/);
  t.is(stepsOf(events).filter(({ skipped }) => skipped).length, 3);
});

test('early stopping ends a run that no longer gains and brings the best weights back', async (t) => {
  const out = join(temporaryFolder(t), 'run');
  const options = {
    optimizer: adamw({ learningRate: 0.3 }),
    evalEvery: 5,
    earlyStoppingPatience: 2,
    maxSteps: 400,
  };
  const events = await eventsOf(tinyTrainer({ ...options, out }));
  const done = events.at(-1)!;
  t.true(done.event === 'done' && done.reason === 'stopped early' && done.step < 400);
  const scores = events.flatMap((event) => (event.event === 'evaluation' ? [event.validLoss] : []));
  t.true(done.event === 'done' && done.validLoss === Math.min(...scores));
  const inMemory = (await eventsOf(tinyTrainer(options))).at(-1)!;
  t.true(inMemory.event === 'done' && done.event === 'done' && inMemory.validLoss === done.validLoss);
});

test('other optimizers and ways to bound gradients train too', async (t) => {
  const variants = [
    { optimizer: sgd({ learningRate: 0.3, momentum: 0.9 }) },
    { optimizer: sgd({ learningRate: 0.3, momentum: 0.9, nesterov: true, weightDecay: 1e-4 }) },
    { clip: { mode: 'value', maximum: 0.01 } as const },
    { clip: { mode: 'rescale', maximum: 1 } as const },
    { clip: { mode: 'none', maximum: 1 } as const },
  ];
  for (const variant of variants) {
    const losses = lossesOf(await eventsOf(tinyTrainer({ maxSteps: 30, ...variant })));
    t.true(losses.at(-1)! < 0.9 * losses[0], `${JSON.stringify(variant)}: ${losses[0]} to ${losses.at(-1)}`);
  }
});

test('a folder with checkpoints is not overwritten, and settings must fit when resuming', async (t) => {
  const out = join(temporaryFolder(t), 'run');
  await eventsOf(tinyTrainer({ out, maxSteps: 4 }));
  await t.throwsAsync(eventsOf(tinyTrainer({ out, maxSteps: 4 })), {
    instanceOf: ConfigError,
    message: /earlier run/,
  });
  const other = eventsOf(tinyTrainer({ out, maxSteps: 8, batchSize: 2, resume: true }));
  await t.throwsAsync(other, { message: /batchSize 4, not 2/ });
  const more = await eventsOf(tinyTrainer({ out, maxSteps: 8, resume: true }));
  t.is(stepsOf(more).length, 4);
});

test('options out of range are refused with their name', (t) => {
  t.throws(() => tinyTrainer({ batchSize: 0 }), { instanceOf: ConfigError, message: /batchSize/ });
  t.throws(() => tinyTrainer({ maxSteps: 1.5 }), { instanceOf: ConfigError, message: /maxSteps/ });
  t.throws(() => tinyTrainer({ resume: true }), { instanceOf: ConfigError, message: /resume/ });
  t.throws(() => tinyTrainer({}, { maxPositionEmbeddings: 8 }), { message: /maxPositionEmbeddings 8/ });
});

test('packed documents: a run stopped and resumed is the run that was not', async (t) => {
  const folder = temporaryFolder(t);
  const [whole, parted] = [join(folder, 'whole'), join(folder, 'parted')];
  const plain = tinyData();
  const starts = Array.from({ length: 500 }, (_, index) => 11 * index);
  const source = new MemoryTokens(idsOf(plain), plain.tokenizer.vocabSize, starts);
  const options = {
    data: { ...plain, source },
    objective: causal({ sequenceLength: 16, packDocuments: true }),
    evalEvery: 5,
    checkpointEvery: 5,
  };
  const events = await eventsOf(tinyTrainer({ ...options, maxSteps: 20, out: whole }));
  t.notDeepEqual(lossesOf(events), lossesOf(await eventsOf(tinyTrainer({ maxSteps: 20 }))));
  await eventsOf(tinyTrainer({ ...options, maxSteps: 20, out: parted }));
  rmSync(join(parted, 'checkpoints', 'step-000020'), { recursive: true });
  await eventsOf(tinyTrainer({ ...options, maxSteps: 20, out: parted, resume: true }));
  t.deepEqual(await weightsOf(parted), await weightsOf(whole));
  const unpacked = causal({ sequenceLength: 16 });
  await t.throwsAsync(
    eventsOf(tinyTrainer({ ...options, objective: unpacked, maxSteps: 21, out: parted, resume: true })),
    { instanceOf: CheckpointError, message: /packDocuments/ },
  );
});

function idsOf({ source }: { source: TokenSource }): Uint32Array {
  const ids = new Int32Array(source.count);
  source.read(0, ids, 0, ids.length);
  return Uint32Array.from(ids);
}
