import { ConfigError } from '../errors.js';
import { type Precision, precisions } from '../shape/dtype.js';
import type { ClipSettings } from './optimizer.js';
import type { StepperOptions } from './stepper.js';

/** What is left out takes the value of `defaults`. */
export interface TrainerOptions
  extends Omit<StepperOptions, 'gradientAccumulationSteps' | 'clip' | 'seed' | 'precision'>,
    Partial<Defaults> {
  /** Folder of the run: checkpoints, best weights, metrics.jsonl. Without it nothing is kept on disk. */
  readonly out?: string;
}

interface Defaults {
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
  /** The smallest fall of the validation loss, in nats per token, that counts as a gain. */
  readonly earlyStoppingMinGain: number;
  /** Updates skipped in a row for non-finite gradients before the run ends with a TrainingError. */
  readonly maxSkippedSteps: number;
  /** Updates between checkpoints; 0 saves only at the end. */
  readonly checkpointEvery: number;
  /** Goes on from the newest whole checkpoint in `out`. */
  readonly resume: boolean;
  /** Kept as settings.json beside the weights, for whoever opens them: where the data came from, how it was cut. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export const defaults: Defaults = {
  gradientAccumulationSteps: 1,
  clip: { mode: 'norm', maximum: 1 },
  seed: 0,
  precision: 'float32',
  evalEvery: 0,
  evalBatches: 0,
  earlyStoppingPatience: 0,
  earlyStoppingMinGain: 0,
  maxSkippedSteps: 10,
  checkpointEvery: 0,
  resume: false,
  settings: {},
};

export type FilledOptions = TrainerOptions & Defaults;

/** Fills in the defaults and checks what can be checked before anything is compiled. Throws ConfigError. */
export function fillOptions(options: TrainerOptions): FilledOptions {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const filled = { ...defaults, ...given } as FilledOptions;
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
  const { sequenceLength } = filled.objective;
  const context = filled.model.maxPositionEmbeddings ?? sequenceLength;
  if (sequenceLength > context) {
    throw new ConfigError(
      `sequenceLength ${sequenceLength} is more than the model's maxPositionEmbeddings ${context}; use at most ${context}`,
    );
  }
  return filled;
}
