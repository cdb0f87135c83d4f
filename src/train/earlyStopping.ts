import { ConfigError } from '../errors.js';
import type { Score } from '../evaluate/score.js';
import { type MetricName, metricDirections } from '../objectives/metrics.js';

export type WatchedMetric = 'loss' | MetricName;

/** What of a score decides: the loss, or a metric, with its sign turned where more of it is better. Lower is better. */
export function watchedOf(score: Score, metric: WatchedMetric): number {
  const value = score[metric];
  if (value === undefined) {
    const there = Object.keys(score).filter((name) => name !== 'tokens');
    throw new ConfigError(
      `earlyStoppingMetric ${metric} is not scored by this objective; use one of ${there.join(', ')}`,
    );
  }
  return metric !== 'loss' && metricDirections[metric] === 'higher' ? -value : value;
}

/** Stops a run that no longer gains on the valid part. */
export interface EarlyStoppingSettings {
  /** Evaluations without a gain before the run stops; 0 never stops it. */
  readonly patience: number;
  /** The smallest fall that counts as a gain, in units of what is watched. */
  readonly minGain: number;
}

export interface EarlyStoppingState {
  /** Of what `watchedOf` gives. */
  bestLoss: number | null;
  bestStep: number;
  evaluationsWithoutGain: number;
}

export class EarlyStopping {
  readonly state: EarlyStoppingState;

  constructor(
    private readonly settings: EarlyStoppingSettings,
    state?: EarlyStoppingState,
  ) {
    this.state = state ? { ...state } : { bestLoss: null, bestStep: 0, evaluationsWithoutGain: 0 };
  }

  /** Takes in an evaluation; true where it is the best so far. */
  observe(step: number, loss: number): boolean {
    const { state } = this;
    const isGain =
      Number.isFinite(loss) && (state.bestLoss === null || loss < state.bestLoss - this.settings.minGain);
    if (isGain) {
      state.bestLoss = loss;
      state.bestStep = step;
      state.evaluationsWithoutGain = 0;
    } else {
      state.evaluationsWithoutGain++;
    }
    return isGain;
  }

  get shouldStop(): boolean {
    const { patience } = this.settings;
    return patience > 0 && this.state.evaluationsWithoutGain >= patience;
  }
}
