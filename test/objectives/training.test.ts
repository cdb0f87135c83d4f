// Every objective trains a small model on a task it can solve, through the one Trainer.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { openSafetensors } from '#src/checkpoint/safetensors.js';
import type { FeatureData, LabelledData, PairData } from '#src/data/rowData.js';
import { idsOf, memoryRows } from '#src/data/rows.js';
import { ConfigError } from '#src/errors.js';
import { Classifier } from '#src/models/classifier.js';
import { encoderConfig } from '#src/models/config.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { Mlp } from '#src/models/mlp.js';
import type { Module } from '#src/nn/index.js';
import { bagOfWordsClassification } from '#src/objectives/bagOfWords.js';
import { classification, featureClassification } from '#src/objectives/classification.js';
import type { ObjectiveData } from '#src/objectives/objective.js';
import { pairBuckets, sequenceToSequence } from '#src/objectives/sequenceToSequence.js';
import { RandomStream } from '#src/random/stream.js';
import { sizeOf } from '#src/shape/shape.js';
import { BagOfWords } from '#src/text/bagOfWords.js';
import { ByteTokenizer } from '#src/text/bytes.js';
import { oneHotRows } from '#src/text/oneHot.js';
import type { DoneEvent, EvaluationEvent, TrainingEvent } from '#src/train/events.js';
import { adamw } from '#src/train/optimizer.js';
import { Trainer, type TrainerOptions } from '#src/train/trainer.js';
import { testDevice } from '../device.js';
import { temporaryFolder } from '../train/tiny.js';

async function train<Model extends Module, Data extends ObjectiveData>(
  options: TrainerOptions<Model, Data>,
  signal?: AbortSignal,
): Promise<TrainingEvent[]> {
  await using trainer = new Trainer<Model, Data>({ threads: 1, device: testDevice, seed: 3, ...options });
  const events: TrainingEvent[] = [];
  for await (const event of trainer.run({ signal })) events.push(event);
  return events;
}

const doneOf = (events: readonly TrainingEvent[]) => events.at(-1) as DoneEvent;

test('an mlp learns exclusive or', async (t) => {
  const features = [
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ];
  const part = { features, labels: Int32Array.of(0, 1, 1, 0) };
  const data: FeatureData = { name: 'xor', parts: { train: part, valid: part } };
  const events = await train({
    model: new Mlp({ inputSize: 2, hiddenSizes: [8], numLabels: 2, hiddenAct: 'tanh' }),
    objective: featureClassification({ numLabels: 2, numFeatures: 2 }),
    data,
    optimizer: adamw({ learningRate: 0.05 }),
    batchSize: 4,
    maxSteps: 200,
  });
  t.is(doneOf(events).accuracy, 1);
  t.true(doneOf(events).validLoss! < 0.05);
});

/** Texts of a and b; the label says which of them there are more of. */
function countedLetters(count: number, stream: number) {
  const random = new RandomStream(5, stream);
  const rows = Array.from({ length: count }, () =>
    Uint8Array.from({ length: 3 + 2 * Math.floor(7 * random.uniform()) }, () =>
      random.uniform() < 0.5 ? 97 : 98,
    ),
  );
  const labels = Int32Array.from(rows, (row) =>
    Number(row.filter((id) => id === 98).length > row.length / 2),
  );
  return { rows: memoryRows(rows, 256), labels };
}

const letters: LabelledData = {
  name: 'letters',
  tokenizer: new ByteTokenizer(),
  labelNames: ['a', 'b'],
  parts: { train: countedLetters(400, 0), valid: countedLetters(100, 1) },
};

for (const hiddenSizes of [[], [8], [8, 4]]) {
  test(`an mlp with ${hiddenSizes.length} hidden layers learns it from bags of letters and keeps its parameters`, async (t) => {
    const folder = temporaryFolder(t);
    const features = BagOfWords.learn(idsOf(letters.parts.train!.rows), { vocabSize: 256, maxNgram: 2 });
    const { numFeatures: inputSize } = features;
    t.is(inputSize, 6); // a, b, and their four pairs
    const model = new Mlp({ inputSize, hiddenSizes, numLabels: 2, hiddenAct: 'sigmoid', sparseInput: true });
    const events = await train({
      model,
      objective: bagOfWordsClassification({ numLabels: 2, features, lengths: [3, 6] }),
      data: letters,
      optimizer: adamw({ learningRate: 0.05 }),
      batchSize: 20,
      maxSteps: 200,
      out: folder,
    });
    t.true(doneOf(events).accuracy! > 0.97, `accuracy ${doneOf(events).accuracy}`);
    const { folder: best } = await openCheckpoint(folder);
    const file = await openSafetensors(join(best, 'model.safetensors'));
    const floats = [...file.tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    await file.close();
    t.is(floats, model.parameterCount());
    const widths = [inputSize, ...hiddenSizes, 2];
    t.is(
      floats,
      widths.slice(1).reduce((sum, width, layer) => sum + (widths[layer] + 1) * width, 0),
    );
    const kept = BagOfWords.fromJSON(JSON.parse(readFileSync(join(best, 'features.json'), 'utf8')));
    t.deepEqual(kept.encode([97, 98, 98]), features.encode([97, 98, 98]));
  });
}

test('an mlp learns from one-hot vectors', async (t) => {
  const ids = Array.from({ length: 40 }, (_, index) => index % 10);
  const part = { features: oneHotRows(ids, 10), labels: Int32Array.from(ids, (id) => id % 3) };
  const events = await train({
    model: new Mlp({ inputSize: 10, hiddenSizes: [16], numLabels: 3 }),
    objective: featureClassification({ numLabels: 3, numFeatures: 10 }),
    data: { name: 'digits', parts: { train: part, valid: part } },
    optimizer: adamw({ learningRate: 0.05 }),
    batchSize: 10,
    maxSteps: 100,
  });
  t.is(doneOf(events).accuracy, 1);
});

const letterRun = (options: Partial<TrainerOptions> = {}) => ({
  model: new Classifier({
    numLabels: 2,
    pooling: 'mean' as const,
    body: encoderConfig({
      modelType: 'bert',
      vocabSize: 256,
      hiddenSize: 16,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 16,
      dropout: 0.1,
    }),
  }),
  objective: classification({ numLabels: 2, lengths: [8, 16] }),
  data: letters,
  optimizer: adamw({ learningRate: 3e-3 }),
  batchSize: 20,
  maxSteps: 200,
  ...(options as object),
});

test('a classifier learns which letter is there more often; stopped and resumed it ends the same', async (t) => {
  const folder = temporaryFolder(t);
  const [whole, parted] = [join(folder, 'whole'), join(folder, 'parted')];
  const options = { evalEvery: 40, checkpointEvery: 30, earlyStoppingMetric: 'accuracy' as const };
  const events = await train(letterRun({ ...options, out: whole }));
  const evaluations = events.filter((event): event is EvaluationEvent => event.event === 'evaluation');
  const { accuracy, f1 } = evaluations.at(-1)!;
  t.true(accuracy! > 0.95 && f1! > 0.95, `accuracy ${accuracy}, f1 ${f1}`);
  const best = evaluations.filter((event) => event.best).at(-1)!;
  t.is(best.accuracy, Math.max(...evaluations.map((event) => event.accuracy!)));

  const stop = new AbortController();
  await using trainer = new Trainer({
    threads: 1,
    device: testDevice,
    seed: 3,
    ...letterRun({ ...options, out: parted }),
  });
  for await (const event of trainer.run({ signal: stop.signal })) {
    if (event.event === 'step' && event.step === 77) stop.abort();
  }
  await train(letterRun({ ...options, out: parted, resume: true }));
  t.is(
    readFileSync(join(parted, 'metrics.jsonl'), 'utf8'),
    readFileSync(join(whole, 'metrics.jsonl'), 'utf8'),
  );
  await t.throwsAsync(trainer.generate('a').next(), { instanceOf: ConfigError, message: /classification/ });
});

test('a metric that the objective has not is refused by name', async (t) => {
  const events = train(letterRun({ earlyStoppingMetric: 'perplexity', maxSteps: 1 }));
  await t.throwsAsync(events, { instanceOf: ConfigError, message: /perplexity is not scored.*accuracy, f1/ });
});

test('an encoder-decoder learns to copy, in batches by tokens', async (t) => {
  const [bos, eos] = [0, 1];
  const random = new RandomStream(8);
  const rows = (count: number) =>
    memoryRows(
      Array.from({ length: count }, () =>
        Uint8Array.from(
          { length: 1 + Math.floor(6 * random.uniform()) },
          () => 2 + Math.floor(8 * random.uniform()),
        ),
      ),
      256,
    );
  const [trained, valid] = [rows(2000), rows(100)];
  const data: PairData = {
    name: 'copies',
    tokenizer: new ByteTokenizer(),
    parts: { train: { source: trained, target: trained }, valid: { source: valid, target: valid } },
  };
  const buckets = pairBuckets(data.parts.train!, { tokensPerBatch: 256, maxLength: 16 });
  t.true(buckets.length > 1 && buckets.every(({ rows, length }) => rows * length <= 256));
  const model = new EncoderDecoder({
    modelType: 'marian',
    vocabSize: 256,
    hiddenSize: 32,
    intermediateSize: 64,
    numHiddenLayers: 1,
    numAttentionHeads: 4,
    maxPositionEmbeddings: 16,
    initializerRange: 0.1,
  });
  const events = await train({
    model,
    objective: sequenceToSequence({ buckets, bos, eos }),
    data,
    optimizer: adamw({ learningRate: 5e-3 }),
    gradientAccumulationSteps: 2,
    maxSteps: 300,
  });
  t.true(
    doneOf(events).accuracy! > 0.98,
    `accuracy ${doneOf(events).accuracy}, loss ${doneOf(events).validLoss}`,
  );
});
