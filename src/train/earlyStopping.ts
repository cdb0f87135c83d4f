/** Stops a run whose validation loss no longer falls. */
export interface EarlyStoppingSettings {
  /** Evaluations without a gain before the run stops; 0 never stops it. */
  readonly patience: number;
  /** The smallest fall of the loss, in nats per token, that counts as a gain. */
  readonly minGain: number;
}

export interface EarlyStoppingState {
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
