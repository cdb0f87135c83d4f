import type { Metrics } from '../objectives/metrics.js';

/** What a run reports. Losses are nats per target token, rates are per second, steps count updates from 1. */
export type TrainingEvent = StepEvent | EvaluationEvent | CheckpointEvent | NoticeEvent | DoneEvent;

export interface StepEvent {
  readonly event: 'step';
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Of the mean gradient, before clipping. Infinite or NaN where the update was skipped. */
  readonly gradientNorm: number;
  /** Over the last ten steps of this process. */
  readonly tokensPerSecond: number;
  /** True where the gradients were not finite and nothing was updated. */
  readonly skipped?: true;
}

/** Holds the metrics of the objective too. */
export interface EvaluationEvent extends Metrics {
  readonly event: 'evaluation';
  readonly step: number;
  readonly validLoss: number;
  readonly best: boolean;
}

export interface CheckpointEvent {
  readonly event: 'checkpoint';
  readonly step: number;
  readonly folder: string;
}

/** Something a user should know: a checkpoint passed over, a run that cannot be resumed exactly. */
export interface NoticeEvent {
  readonly event: 'notice';
  readonly step: number;
  readonly message: string;
}

export interface DoneEvent {
  readonly event: 'done';
  readonly step: number;
  /** Mean of the last steps (100 at most). */
  readonly trainLoss: number | null;
  /** Of the weights that are kept: the best ones after early stopping, else the last. */
  readonly validLoss: number | null;
  readonly bitsPerCharacter: number | null;
  /** Where the objective has one. */
  readonly accuracy?: number;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  readonly reason: 'finished' | 'stopped early' | 'aborted';
}
