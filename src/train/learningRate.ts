import { ConfigError } from '../errors.js';

/** The learning rate of the update that follows `step` earlier ones (0 for the first), in a run of `maxSteps`. */
export type LearningRate = (step: number, maxSteps: number) => number;

export interface WarmupOptions {
  /** The highest rate, reached after warm-up. */
  peak: number;
  /** Updates of linear warm-up from peak / (warmupSteps + 1). Default 0. */
  warmupSteps?: number;
}

export interface DecayOptions extends WarmupOptions {
  /** The rate at the end. Default 0. */
  minimum?: number;
  /** Updates until `minimum` is reached, warm-up included. Default: maxSteps. */
  decaySteps?: number;
}

/** Multiplies what follows warm-up; `progress` runs from 0 at its end to 1 at decaySteps. */
function withWarmup(options: DecayOptions, shape: (progress: number) => number): LearningRate {
  const { peak, warmupSteps = 0, minimum = 0, decaySteps } = options;
  if (!(peak >= 0) || !(minimum >= 0) || minimum > peak) {
    throw new ConfigError(
      `learning rates must satisfy 0 <= minimum <= peak, but they are ${minimum} and ${peak}`,
      options as never,
    );
  }
  if (!Number.isSafeInteger(warmupSteps) || warmupSteps < 0) {
    throw new ConfigError(`warmupSteps must be a whole number of updates, but it is ${warmupSteps}`);
  }
  return (step, maxSteps) => {
    if (step < warmupSteps) return (peak * (step + 1)) / (warmupSteps + 1);
    const end = decaySteps ?? maxSteps;
    const progress = end > warmupSteps ? Math.min(1, (step - warmupSteps) / (end - warmupSteps)) : 1;
    return minimum + (peak - minimum) * shape(progress);
  };
}

/** Warm-up, then the peak for ever. */
export const constantRate = (options: WarmupOptions): LearningRate => withWarmup(options, () => 1);

/** Warm-up, then a straight line to the minimum. */
export const linear = (options: DecayOptions): LearningRate =>
  withWarmup(options, (progress) => 1 - progress);

/** Warm-up, then half a cosine to the minimum (Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts). */
export const cosine = (options: DecayOptions): LearningRate =>
  withWarmup(options, (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)));

/**
 * Warm-up, then peak * sqrt(warmupSteps / step): the schedule of Vaswani et al. 2017, section 5.3 (Noam), with the peak
 * said outright instead of by hiddenSize^-0.5. Never below the minimum.
 */
export function inverseSquareRoot(options: DecayOptions): LearningRate {
  const { peak, warmupSteps = 0, minimum = 0 } = options;
  const warm = withWarmup({ ...options, minimum: 0 }, () => 1);
  const from = Math.max(1, warmupSteps);
  return (step, maxSteps) =>
    step < warmupSteps ? warm(step, maxSteps) : Math.max(minimum, peak * Math.sqrt(from / (step + 1)));
}

export interface WarmupStableDecayOptions extends DecayOptions {
  /** Updates of decay at the end. Default: a tenth of the run. */
  decayOver?: number;
}

/** Warm-up, the peak, and a straight line to the minimum at the end (Hu et al. 2024, MiniCPM, arXiv:2404.06395). */
export function warmupStableDecay(options: WarmupStableDecayOptions): LearningRate {
  const { peak, minimum = 0 } = options;
  const warm = withWarmup({ ...options, minimum: 0 }, () => 1);
  return (step, maxSteps) => {
    const end = options.decaySteps ?? maxSteps;
    const decayOver = options.decayOver ?? Math.ceil(end / 10);
    const left = Math.max(0, end - step) / decayOver;
    return left >= 1 ? warm(step, maxSteps) : minimum + (peak - minimum) * left;
  };
}

/** Schedules by the names the command line takes. */
export const schedules = {
  constant: constantRate,
  linear,
  cosine,
  'inverse-square-root': inverseSquareRoot,
  'warmup-stable-decay': warmupStableDecay,
} as const;
export type ScheduleName = keyof typeof schedules;
