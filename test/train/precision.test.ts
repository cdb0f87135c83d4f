import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { CheckpointError, ConfigError } from '#src/errors.js';
import { PretrainedModel } from '#src/generate/pretrained.js';
import { planTraining } from '#src/inspect/plan.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import { runtimeInfo } from '#src/runtime/session.js';
import type { TrainingEvent } from '#src/train/events.js';
import { adamw } from '#src/train/optimizer.js';
import { testDevice } from '../device.js';
import { eventsOf, temporaryFolder, tinyTrainer } from './tiny.js';

const bf16 = { precision: 'bf16' } as const;

const lossesOf = (events: readonly TrainingEvent[]) =>
  events.flatMap((event) => (event.event === 'step' ? [event.loss] : []));
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

test('200 steps in bf16 end where 200 steps in float32 do, within 3%', async (t) => {
  const options = { maxSteps: 200, batchSize: 8 };
  const [whole, half] = [
    lossesOf(await eventsOf(tinyTrainer(options))),
    lossesOf(await eventsOf(tinyTrainer({ ...options, ...bf16 }))),
  ];
  t.true(Math.abs(half[0] / whole[0] - 1) < 1e-2);
  const [end, ended] = [mean(whole.slice(-20)), mean(half.slice(-20))];
  t.true(end < 0.7 * whole[0]);
  t.true(Math.abs(ended / end - 1) < 3e-2, `float32 ends at ${end}, bf16 at ${ended}`);
  t.log(`float32 ends at ${end}, bf16 at ${ended}`);
  t.notDeepEqual(half, whole);
});

test('one thread or two: losses in bf16 are equal to the last bit', async (t) => {
  const run = async (threads: number) =>
    lossesOf(await eventsOf(tinyTrainer({ ...bf16, threads }, { dropout: 0.1 })));
  t.deepEqual(await run(1), await run(2));
});

test('a run in bf16 stopped and resumed is the same run; another precision is refused by name', async (t) => {
  const folder = temporaryFolder(t);
  const [whole, parted] = [join(folder, 'whole'), join(folder, 'parted')];
  const options = { ...bf16, maxSteps: 24, evalEvery: 6, checkpointEvery: 8 };
  await eventsOf(tinyTrainer({ ...options, out: whole }));
  const stop = new AbortController();
  const trainer = tinyTrainer({ ...options, out: parted });
  for await (const event of trainer.run({ signal: stop.signal })) {
    if (event.event === 'step' && event.step === 11) stop.abort();
  }
  await trainer.close();
  const error = await t.throwsAsync(
    eventsOf(tinyTrainer({ ...options, precision: 'float32', out: parted, resume: true })),
    { instanceOf: CheckpointError },
  );
  t.regex(error.message, /trained with precision "bf16", not "float32"/);
  await eventsOf(tinyTrainer({ ...options, out: parted, resume: true }));
  const log = (out: string) => readFileSync(join(out, 'metrics.jsonl'), 'utf8');
  t.is(log(parted), log(whole));
  const weights = async (out: string) =>
    readFileSync(join((await openCheckpoint(out, { prefer: 'latest' })).folder, 'model.safetensors'));
  t.deepEqual(await weights(parted), await weights(whole));
});

test('micro-steps accumulate in float32; SGD writes the mirror too', async (t) => {
  const together = lossesOf(await eventsOf(tinyTrainer({ ...bf16, batchSize: 4, maxSteps: 8 })));
  const summed = lossesOf(
    await eventsOf(tinyTrainer({ ...bf16, batchSize: 2, gradientAccumulationSteps: 2, maxSteps: 8 })),
  );
  together.forEach((loss, step) => {
    t.true(Math.abs(loss / summed[step] - 1) < 1e-2);
  });
});

test('best weights that come back are what products read', async (t) => {
  const trainer = tinyTrainer({
    ...bf16,
    optimizer: adamw({ learningRate: 0.3 }),
    evalEvery: 5,
    earlyStoppingPatience: 2,
    maxSteps: 200,
  });
  let best = Number.POSITIVE_INFINITY;
  for await (const event of trainer.run()) {
    if (event.event === 'evaluation') best = Math.min(best, event.validLoss);
    if (event.event !== 'done') continue;
    t.is(event.reason, 'stopped early');
    t.is(event.validLoss, best);
  }
  await trainer.close();
});

test('a checkpoint says its precision, and texts are continued in it', async (t) => {
  const out = join(temporaryFolder(t), 'run');
  const trainer = tinyTrainer({ ...bf16, maxSteps: 30, out });
  for await (const _ of trainer.run());
  const texts: string[] = [];
  for await (const piece of trainer.generate('the ', { temperature: 0, maxNewTokens: 20 })) texts.push(piece);
  await trainer.close();
  await using pretrained = await PretrainedModel.open(out, { device: testDevice, threads: 1 });
  t.is(pretrained.precision, 'bf16');
  const again: string[] = [];
  for await (const piece of pretrained.generate('the ', { temperature: 0, maxNewTokens: 20 }))
    again.push(piece);
  t.deepEqual(again, texts);
});

test('on a CPU a notice says that bf16 is emulated, unless the processor multiplies it', async (t) => {
  const events = await eventsOf(tinyTrainer({ ...bf16, maxSteps: 1, device: 'cpu' }));
  const said = events.some((event) => event.event === 'notice' && /bf16 is emulated/.test(event.message));
  t.is(said, runtimeInfo().isa !== 'avx512bf16');
});

test('another precision is refused', (t) => {
  const error = t.throws(() => tinyTrainer({ precision: 'float16' as 'bf16' }), { instanceOf: ConfigError });
  t.is(error.message, 'precision must be float32 or bf16, but it is float16');
});

test('the plan: activations take half, and the mirror half of the parameters', (t) => {
  const plan = (precision: 'float32' | 'bf16') =>
    planTraining({
      model: new Decoder({
        vocabSize: 256,
        hiddenSize: 256,
        numHiddenLayers: 4,
        numAttentionHeads: 4,
        maxPositionEmbeddings: 256,
      }),
      objective: causal({ sequenceLength: 256 }),
      vocabSize: 256,
      batchSize: 8,
      gradientAccumulationSteps: 1,
      optimizer: adamw(),
      clip: { mode: 'norm', maximum: 1 },
      precision,
    }).memory;
  const [whole, half] = [plan('float32'), plan('bf16')];
  t.is(whole.parametersBf16, undefined);
  t.is(half.parametersBf16, whole.parameters! / 2);
  t.is(half.gradients, whole.gradients);
  t.is(half.optimizerState, whole.optimizerState);
  t.true(half.activations! < 0.55 * whole.activations!, `${half.activations} of ${whole.activations}`);
});
