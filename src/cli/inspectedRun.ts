import * as v from 'valibot';
import { randomText, type TakenStepOptions } from '../inspect/takenStep.js';
import { Decoder } from '../models/decoder.js';
import { positiveInteger } from '../models/settingFields.js';
import type { Module } from '../nn/index.js';
import { causal } from '../objectives/causal.js';
import type { ObjectiveData } from '../objectives/objective.js';
import { clipFrom, modelFrom, optimizerFrom, sequenceLengthFrom } from '../train/fromSettings.js';
import { openRun } from '../train/openRun.js';
import type { TrainSettings } from '../train/settings.js';
import type { Task } from '../train/tasks.js';

/** What a run is about, for commands that look at its programs and train nothing. */
export interface InspectedRun {
  /** With what follows from a base filled in. */
  readonly settings: TrainSettings;
  readonly model: Module;
  readonly objective: Task['objective'];
  readonly vocabSize: number;
  /** Absent where a language model needed no text. */
  readonly data?: ObjectiveData;
}

/**
 * Opens a run like `train`. A language model that starts anew needs no text where `vocabSize` is known without one; all else needs the
 * data. Throws what openRun throws.
 */
export async function openInspectedRun(
  settings: TrainSettings,
  vocabSize: number | undefined,
  given: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<InspectedRun> {
  const startsAnew = settings.initFrom === undefined && settings.loraRank === 0;
  if (settings.objective === 'causal' && vocabSize !== undefined && startsAnew) {
    const { labelSmoothing } = settings;
    const objective = causal({ sequenceLength: sequenceLengthFrom(settings), labelSmoothing });
    const model = new Decoder(modelFrom(settings, vocabSize));
    return { settings, model, objective: objective as Task['objective'], vocabSize };
  }
  const { task, ...run } = await openRun(settings, given, { signal });
  return { ...run, objective: task.objective, vocabSize: task.vocabSize, data: task.data };
}

/** Of a step of random tokens. */
const RANDOM_VOCAB_SIZE = 65;

/** The flag of commands that take one step. */
export const inspectedVocabSize = v.optional(
  positiveInteger('Size of the vocabulary', {
    unit: 'tokens',
    defaultFrom: `${RANDOM_VOCAB_SIZE} for random tokens, else that of the data's tokenizer`,
  }),
);

/** A run's step on its first batch; on random tokens for a language model of which no data were named. Throws what openRun throws. */
export async function openInspectedStep(
  asked: TrainSettings,
  given: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<{ settings: TrainSettings; step: TakenStepOptions }> {
  // Where a text is named, its tokenizer says how large the vocabulary is.
  const vocabSize = given.has('data') ? undefined : (asked.vocabSize ?? RANDOM_VOCAB_SIZE);
  const { settings, ...run } = await openInspectedRun(asked, vocabSize, given, signal);
  const { batchSize, precision, recompute, seed } = settings;
  const length = sequenceLengthFrom(settings);
  const data = run.data ?? randomText(run.vocabSize, (batchSize + 1) * (length + 1), seed);
  const [optimizer, clip] = [optimizerFrom(settings), clipFrom(settings)];
  return { settings, step: { ...run, data, batchSize, precision, recompute, seed, optimizer, clip } };
}
