import type { TextData } from '../data/textData.js';
import { ConfigError } from '../errors.js';
import type { LanguageModel } from '../models/decoder.js';
import type { Module } from '../nn/index.js';
import { metricNames } from '../objectives/metrics.js';
import { type Bucket, maxBuckets, type ObjectiveData } from '../objectives/objective.js';
import { type Precision, precisions } from '../shape/dtype.js';
import type { WatchedMetric } from './earlyStopping.js';
import type { ClipSettings } from './optimizer.js';
import type { StepperOptions } from './stepper.js';

/** What is left out takes the value of `defaults`. */
export interface TrainerOptions<Model extends Module = LanguageModel, Data extends ObjectiveData = TextData>
  extends Omit<StepperOptions<Model, Data>, keyof Defaults>,
    Partial<Defaults> {
  /** Folder of the run: checkpoints, best weights, metrics.jsonl. Without it nothing is kept on disk. */
  readonly out?: string;
}

interface Defaults {
  /** Rows of a micro-step, where the objective does not count tokens instead. */
  readonly batchSize: number;
  /** Micro-steps summed into one update. */
  readonly gradientAccumulationSteps: number;
  readonly clip: ClipSettings;
  /** Chooses weights, order of data and dropout. */
  readonly seed: number;
  /** What matrices and activations are; masters, losses, statistics and optimizer state are always float32. */
  readonly precision: Precision;
  /** Updates between evaluations of the valid part; 0 evaluates only at the end. */
  readonly evalEvery: number;
  /** Batches of an evaluation in mid-run; 0 takes the whole part, as the last one always does. */
  readonly evalBatches: number;
  /** Evaluations without a gain before the run stops and the best weights come back; 0 never. */
  readonly earlyStoppingPatience: number;
  /** The smallest gain of what is watched that counts: for the loss in nats per token. */
  readonly earlyStoppingMinGain: number;
  /** What of an evaluation decides which weights are best. */
  readonly earlyStoppingMetric: WatchedMetric;
  /** Updates skipped in a row for non-finite gradients before the run ends with a TrainingError. */
  readonly maxSkippedSteps: number;
  /** Updates between checkpoints; 0 saves only at the end. */
  readonly checkpointEvery: number;
  /** Goes on from the newest whole checkpoint in `out`. */
  readonly resume: boolean;
  /** Run or checkpoint whose tensors are taken over where name and shape fit, before the first step. Not when resuming. */
  readonly initFrom?: string;
  /** Kept as settings.json beside the weights, for whoever opens them: where the data came from, how it was cut. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export const defaults: Defaults = {
  batchSize: 12,
  gradientAccumulationSteps: 1,
  clip: { mode: 'norm', maximum: 1 },
  seed: 0,
  precision: 'float32',
  evalEvery: 0,
  evalBatches: 0,
  earlyStoppingPatience: 0,
  earlyStoppingMinGain: 0,
  earlyStoppingMetric: 'loss',
  maxSkippedSteps: 10,
  checkpointEvery: 0,
  resume: false,
  settings: {},
};

export type FilledOptions<Model extends Module, Data extends ObjectiveData> = TrainerOptions<Model, Data> &
  Defaults;

/** Tokens of the longest row that a batch can have. */
export const longestRow = (buckets: readonly Bucket[]): number =>
  Math.max(...buckets.map(({ length, targetLength = 0 }) => Math.max(length, targetLength)));

/** Fills in the defaults and checks what can be checked before anything is compiled. Throws ConfigError. */
export function fillOptions<Model extends Module, Data extends ObjectiveData>(
  options: TrainerOptions<Model, Data>,
): FilledOptions<Model, Data> {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const filled = { ...defaults, ...given } as FilledOptions<Model, Data>;
  const least = {
    batchSize: 1,
    maxSteps: 1,
    gradientAccumulationSteps: 1,
    maxSkippedSteps: 1,
    seed: 0,
    evalEvery: 0,
    evalBatches: 0,
    checkpointEvery: 0,
    earlyStoppingPatience: 0,
  };
  for (const [name, minimum] of Object.entries(least)) {
    const value = filled[name as keyof typeof least];
    if (Number.isSafeInteger(value) && value >= minimum) continue;
    throw new ConfigError(`${name} must be a whole number of at least ${minimum}, but it is ${value}`, {
      [name]: value,
    });
  }
  if (!precisions.includes(filled.precision)) {
    throw new ConfigError(`precision must be ${precisions.join(' or ')}, but it is ${filled.precision}`);
  }
  if (filled.resume && !filled.out) throw new ConfigError('resume needs the folder of the run in out');
  if (filled.earlyStoppingMetric !== 'loss' && !metricNames.includes(filled.earlyStoppingMetric)) {
    throw new ConfigError(
      `earlyStoppingMetric must be one of loss, ${metricNames.join(', ')}, but it is ${filled.earlyStoppingMetric}`,
    );
  }
  checkBuckets(filled.objective.buckets(filled.batchSize), filled.model);
  return filled;
}

function checkBuckets(
  buckets: readonly Bucket[],
  model: Module & { readonly maxPositionEmbeddings?: number },
): void {
  if (buckets.length < 1 || buckets.length > maxBuckets) {
    throw new ConfigError(`an objective has 1 to ${maxBuckets} buckets, but there are ${buckets.length}`);
  }
  const length = longestRow(buckets);
  const context = model.maxPositionEmbeddings ?? length;
  if (length > context) {
    throw new ConfigError(
      `sequenceLength ${length} is more than the model's maxPositionEmbeddings ${context}; use at most ${context}`,
    );
  }
}
