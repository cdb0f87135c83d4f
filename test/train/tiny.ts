// A language model and a text small enough to train in a test.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { splitTokens } from '#src/data/split.js';
import type { TextData } from '#src/data/textData.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import type { DecoderOptions } from '#src/models/config.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import { CharacterTokenizer } from '#src/text/characters.js';
import type { TrainingEvent } from '#src/train/events.js';
import { cosine } from '#src/train/learningRate.js';
import { adamw } from '#src/train/optimizer.js';
import { Trainer, type TrainerOptions } from '#src/train/trainer.js';
import { testDevice } from '../device.js';

const sentences = [
  'the quick brown fox jumps over the lazy dog. ',
  'a journey of a thousand miles begins with a single step. ',
  'to be or not to be, that is the question. ',
];

/** Some 6,000 characters without long repetitions. */
export function tinyData(): TextData {
  let text = '';
  for (let index = 0; text.length < 6000; index++) text += sentences[(index * index + (index >> 2)) % 3];
  const tokenizer = CharacterTokenizer.fromText(text);
  const source = new MemoryTokens(tokenizer.encode(text), tokenizer.vocabSize);
  return { name: 'tiny', source, tokenizer, parts: splitTokens(source.count) };
}

export function tinyModel(options: Partial<DecoderOptions> = {}): Decoder {
  return new Decoder({
    vocabSize: tinyData().tokenizer.vocabSize,
    hiddenSize: 32,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
    maxPositionEmbeddings: 16,
    ...options,
  });
}

export function tinyTrainer(
  options: Partial<TrainerOptions> = {},
  model: Partial<DecoderOptions> = {},
): Trainer {
  return new Trainer({
    model: tinyModel(model),
    objective: causal({ sequenceLength: 16 }),
    data: tinyData(),
    optimizer: adamw({ learningRate: cosine({ peak: 3e-3, warmupSteps: 5 }) }),
    batchSize: 4,
    maxSteps: 20,
    seed: 7,
    threads: 1,
    device: testDevice,
    ...options,
  });
}

/** A temporary folder that goes with the test. */
export function temporaryFolder(t: { teardown: (run: () => void) => void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** All that a run reports; the trainer is closed behind it. */
export async function eventsOf(trainer: Trainer, signal?: AbortSignal): Promise<TrainingEvent[]> {
  const events: TrainingEvent[] = [];
  try {
    for await (const event of trainer.run({ signal })) events.push(event);
  } finally {
    await trainer.close();
  }
  return events;
}
