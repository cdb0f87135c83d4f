// What masking and corruption make of texts, and that it is a function of the seed and the step alone.
import { readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { memoryRows } from '#src/data/rows.js';
import { splitTokens } from '#src/data/split.js';
import type { TextData } from '#src/data/textData.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { ConfigError } from '#src/errors.js';
import { MaskedLanguageModel } from '#src/models/encoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { completion } from '#src/objectives/completion.js';
import { masked } from '#src/objectives/masked.js';
import type { Batch, Objective } from '#src/objectives/objective.js';
import { denoising, spanCorruption } from '#src/objectives/spanCorruption.js';
import { ByteTokenizer } from '#src/text/bytes.js';
import { tokenizerFromJSON } from '#src/text/vocabulary.js';
import { adamw } from '#src/train/optimizer.js';
import { Trainer } from '#src/train/trainer.js';
import { testDevice } from '../device.js';

const text = 'the weaver threads the heddle and the shuttle flies '.repeat(60);
const tokenizer = new ByteTokenizer();
const source = new MemoryTokens(tokenizer.encode(text), 256);
const data: TextData = { name: 'cloth', source, tokenizer, parts: splitTokens(source.count, [0.9, 0.1, 0]) };
const options = { batchSize: 4, gradientAccumulationSteps: 1, seed: 9, vocabSize: 300 };
const copyOf = ({ arrays }: Batch) =>
  Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, [...array]]));

const mask = 256;
const [bos, eos] = [257, 258];
const sentinels = Array.from({ length: 20 }, (_, index) => 260 + index);

test('masked places are 15% of each row; four fifths of them are masks, and only they are scored', (t) => {
  const batches = masked({ sequenceLength: 40, mask }).training(data, options);
  let [masks, kept, total] = [0, 0, 0];
  for (let step = 0; step < 60; step++) {
    const { inputIds, positions, targets } = copyOf(batches.batchAt(step, 0));
    t.is(positions.length, 4 * 6);
    t.is(new Set(positions).size, positions.length);
    positions.forEach((position, index) => {
      t.is(Math.floor(position / 40), Math.floor(index / 6));
      total++;
      if (inputIds[position] === mask) masks++;
      else if (inputIds[position] === targets[index]) kept++;
    });
    t.is(inputIds.filter((id) => id === mask).length <= positions.length, true);
  }
  // Deviations of the two shares over 1,440 draws are 0.0105 and 0.008; five of them.
  t.true(Math.abs(masks / total - 0.8) < 0.053, `${masks / total}`);
  t.true(Math.abs(kept / total - 0.1) < 0.04, `${kept / total}`);
});

/** The tokens before masking, and the places that were chosen. */
function unmasked(batch: Batch) {
  const { inputIds, positions, targets } = copyOf(batch);
  const original = [...inputIds];
  positions.forEach((position, index) => {
    if (targets[index] >= 0) original[position] = targets[index];
  });
  return { original, isChosen: new Set(positions.filter((_, index) => targets[index] >= 0)) };
}

test('whole words are masked together', (t) => {
  const batches = masked({ sequenceLength: 52, mask, wholeWords: true, probability: 0.3 }).training(
    data,
    options,
  );
  for (let step = 0; step < 20; step++) {
    const { original, isChosen } = unmasked(batches.batchAt(step, 0));
    for (let place = 0; place < original.length; place++) {
      const goesOn = place % 52 > 0 && original[place] !== 32 && original[place - 1] !== 32;
      if (goesOn) t.is(isChosen.has(place), isChosen.has(place - 1));
    }
  }
});

test('whole words of a WordPiece tokenizer are masked together', (t) => {
  const file = JSON.parse(readFileSync('test/fixtures/wordpiece.tokenizer.json', 'utf8'));
  const vocab: Record<string, number> = file.model.vocab;
  const continues = new Set(
    Object.keys(vocab).flatMap((name) => (name.startsWith('##') ? [vocab[name]] : [])),
  );
  const pieces = tokenizerFromJSON(file);
  const ids = pieces.encode(text);
  const source = new MemoryTokens(ids, pieces.vocabSize);
  const maskId = pieces.specialTokens.mask!;
  const batches = masked({ sequenceLength: 40, mask: maskId, wholeWords: true, probability: 0.3 }).training(
    { name: 'pieces', source, tokenizer: pieces, parts: splitTokens(source.count, [0.9, 0.1, 0]) },
    { ...options, vocabSize: pieces.vocabSize },
  );
  let continued = 0;
  for (let step = 0; step < 20; step++) {
    const { original, isChosen } = unmasked(batches.batchAt(step, 0));
    for (let place = 0; place < original.length; place++) {
      if (place % 40 === 0 || !continues.has(original[place])) continue;
      t.is(isChosen.has(place), isChosen.has(place - 1));
      continued++;
    }
  }
  t.true(continued > 100);
});

const objectives: Record<string, Objective<never, TextData>> = {
  masked: masked({ sequenceLength: 24, mask }) as never,
  spans: spanCorruption({ sequenceLength: 24, sentinels, bos, eos }) as never,
  infilling: denoising({ sequenceLength: 24, mask, bos, eos }) as never,
};

for (const [name, objective] of Object.entries(objectives)) {
  test(`${name}: a batch is a function of seed and step, and evaluation is the same each time`, (t) => {
    const [one, two] = [objective.training(data, options), objective.training(data, options)];
    const there = [0, 1, 2, 3].map((step) => copyOf(one.batchAt(step, 0)));
    const back = [3, 2, 1, 0].map((step) => copyOf(two.batchAt(step, 0)));
    t.deepEqual(back.reverse(), there);
    t.notDeepEqual(copyOf(objective.training(data, { ...options, seed: 10 }).batchAt(0, 0)), there[0]);
    const part = objective.evaluation(data, 'valid', options);
    const pass = () => Array.from({ length: part.count }, (_, index) => copyOf(part.batchAt(index)));
    t.deepEqual(pass(), pass());
  });
}

test('sentinels and what stands behind them put the text together again', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 80 }), fc.nat(1000), (sequenceLength, step) => {
      const spans = spanCorruption({ sequenceLength, sentinels, bos, eos });
      const texts = denoising({ sequenceLength, mask, bos, eos, noiseDensity: 0.15 });
      const { inputIds, targets, inputLengths, decoderLengths, decoderInputIds } = copyOf(
        spans.training(data, { ...options, batchSize: 1 }).batchAt(step, 0),
      );
      t.is(inputLengths[0], inputIds.length);
      t.is(decoderLengths[0], targets.length);
      t.deepEqual(decoderInputIds, [bos, ...targets.slice(0, -1)]);
      t.is(inputIds.at(-1), eos);
      const behind = new Map<number, number[]>();
      for (const id of targets.slice(0, -1)) {
        if (sentinels.includes(id)) behind.set(id, []);
        else [...behind.values()].at(-1)!.push(id);
      }
      const whole = inputIds.slice(0, -1).flatMap((id) => behind.get(id) ?? [id]);
      const other = copyOf(texts.training(data, { ...options, batchSize: 1 }).batchAt(step, 0));
      t.deepEqual(other.targets, [...whole, eos]);
      t.deepEqual(
        other.inputIds,
        inputIds.map((id) => (sentinels.includes(id) ? mask : id)),
      );
    }),
  );
  const few = () => spanCorruption({ sequenceLength: 200, sentinels: [260], bos, eos });
  t.throws(few, { instanceOf: ConfigError, message: /10 spans.*1 sentinels/ });
});

test('only completions are scored', (t) => {
  const [prompts, completions] = [
    ['ab', 'c', ''],
    ['xyz', 'u', 'vw'],
  ].map((texts) =>
    memoryRows(
      texts.map((it) => tokenizer.encode(it)),
      256,
    ),
  );
  const pairs = { name: 'pairs', tokenizer, parts: { valid: { source: prompts, target: completions } } };
  const part = completion({ lengths: [6], eos }).evaluation(pairs, 'valid', { ...options, batchSize: 3 });
  const { inputIds, targets } = copyOf(part.batchAt(0));
  const letters = (ids: number[]) =>
    ids.map((id) => (id === eos ? '$' : id < 0 ? '-' : id ? String.fromCharCode(id) : '.'));
  t.is(letters(inputIds).join(''), 'abxyz.cu....vw....');
  t.is(letters(targets).join(''), '-xyz$-u$----w$----');
});

test('a masked language model and an encoder-decoder learn the text', async (t) => {
  const sizes = {
    vocabSize: 300,
    hiddenSize: 32,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
    maxPositionEmbeddings: 32,
    initializerRange: 0.1,
  };
  const run = {
    data,
    vocabSize: 300,
    optimizer: adamw({ learningRate: 5e-3 }),
    batchSize: 8,
    maxSteps: 300,
    threads: 1,
    device: testDevice,
  };
  await using encoder = new Trainer({
    ...run,
    model: new MaskedLanguageModel({ ...sizes, modelType: 'bert' }),
    objective: masked({ sequenceLength: 32, mask }),
  });
  for await (const _ of encoder.run());
  const { accuracy } = await encoder.evaluate('valid');
  t.true(accuracy! > 0.2, `${accuracy}`);
  await using both = new Trainer({
    ...run,
    model: new EncoderDecoder({ ...sizes, modelType: 'bart' }),
    objective: spanCorruption({ sequenceLength: 32, sentinels, bos, eos }),
  });
  for await (const _ of both.run());
  t.true((await both.evaluate('valid')).accuracy! > 0.4);
});
