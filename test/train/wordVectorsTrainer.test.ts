import test from 'ava';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { CheckpointError, ConfigError } from '#src/errors.js';
import { NamedVectors, openVectors } from '#src/evaluate/wordVectors.js';
import { WordInventory } from '#src/text/words.js';
import {
  type WordVectorsEvent,
  type WordVectorsOptions,
  WordVectorsTrainer,
} from '#src/train/wordVectorsTrainer.js';
import { temporaryFolder } from '../data/folder.js';
import { testDevice } from '../device.js';

const topics = ['warp weft loom heddle shuttle reed', 'bread flour oven yeast salt dough'].map((words) =>
  words.split(' '),
);

/** Sentences of words of one topic each. */
function topicText() {
  let text = '';
  for (let sentence = 0; sentence < 200; sentence++) {
    const words = topics[sentence % 2];
    for (let i = 0; i < 12; i++) text += `${words[(sentence * 7 + i * i + (i >> 1)) % words.length]} `;
  }
  const inventory = new WordInventory();
  inventory.add(text);
  const tokenizer = inventory.tokenizer();
  return { source: new MemoryTokens(tokenizer.encode(text), tokenizer.vocabSize), tokenizer };
}

const options = (more: Partial<WordVectorsOptions> = {}): WordVectorsOptions => ({
  data: topicText(),
  ...{ hiddenSize: 12, window: 3, subsample: 0, epochs: 4, chunkLength: 300 },
  device: testDevice,
  ...more,
});

async function train(
  more: Partial<WordVectorsOptions> = {},
  signal?: (event: WordVectorsEvent) => AbortSignal | undefined,
) {
  await using trainer = new WordVectorsTrainer(options(more));
  const events: WordVectorsEvent[] = [];
  const abort = new AbortController();
  for await (const event of trainer.run({ signal: abort.signal })) {
    events.push(event);
    if (signal?.(event)?.aborted) abort.abort();
  }
  return { events, vectors: await trainer.vectors(), words: trainer.words };
}

const losses = (events: readonly WordVectorsEvent[]) =>
  events.flatMap((event) => (event.event === 'step' ? [event.loss] : []));

test('words of one topic become neighbours, and the loss falls', async (t) => {
  const { events, vectors } = await train({ epochs: 15, learningRate: 0.05 });
  const all = losses(events);
  t.is(all.length, 15 * 8);
  const [first] = losses((await train({ epochs: 1, learningRate: 1e-6 })).events);
  t.true(Math.abs(first - 6 * Math.log(2)) < 1e-3, `${first}: six terms of log 2 for vectors that are 0`);
  t.true(all.at(-1)! < all[0] - 0.5);
  const { words } = topicText().tokenizer.definition;
  const named = new NamedVectors([...words], vectors);
  const mean = (pairs: string[][]) =>
    pairs.reduce((sum, [a, b]) => sum + named.similarity(a, b), 0) / pairs.length;
  const [inside, across] = [topics[0], topics[1]].map((others) =>
    mean(topics[0].flatMap((a) => others.filter((b) => b !== a).map((b) => [a, b]))),
  );
  t.true(inside > 3 * across && inside > across + 0.1, `${inside} within a topic, ${across} across topics`);
});

test('vectors are the same to the bit for every number of threads, and others for another seed', async (t) => {
  const one = await train({ threads: 1 });
  t.deepEqual((await train({ threads: 3 })).vectors, one.vectors);
  t.notDeepEqual((await train({ seed: 2 })).vectors, one.vectors);
});

test('a run that is stopped and resumed ends with the same bits', async (t) => {
  const out = await temporaryFolder(t);
  const whole = await train();
  const stop = AbortSignal.abort();
  const first = await train({ out }, (event) => (event.step === 5 ? stop : undefined));
  t.is(first.events.at(-1)!.event, 'done');
  t.is(first.events.at(-1)!.step, 5);
  await t.throwsAsync(train({ out }), { instanceOf: ConfigError, message: /holds checkpoints/ });
  await t.throwsAsync(train({ out, resume: true, window: 2 }), {
    instanceOf: CheckpointError,
    message: /window 3, not 2/,
  });
  const rest = await train({ out, resume: true });
  t.deepEqual([...losses(first.events), ...losses(rest.events)], losses(whole.events));
  t.deepEqual(rest.vectors, whole.vectors);

  const opened = await openVectors(out);
  t.deepEqual(opened.words, topicText().tokenizer.definition.words.slice(1));
  t.deepEqual(opened.vectors, whole.vectors.subarray(12));
});

test('settings that cannot be are refused', (t) => {
  t.throws(() => new WordVectorsTrainer(options({ window: 0 })), {
    instanceOf: ConfigError,
    message: /window/,
  });
  t.throws(() => new WordVectorsTrainer(options({ window: 300 })), {
    instanceOf: ConfigError,
    message: /at most 256/,
  });
  t.throws(() => new WordVectorsTrainer(options({ resume: true })), {
    instanceOf: ConfigError,
    message: /out/,
  });
});
