import type { Batch, RunOutputs, Tally } from './objective.js';

/** What a score may hold beside the loss, and whether more of it is better. */
export const metricDirections = {
  perplexity: 'lower',
  bitsPerCharacter: 'lower',
  accuracy: 'higher',
  f1: 'higher',
} as const;
export type MetricName = keyof typeof metricDirections;
export const metricNames = Object.keys(metricDirections) as MetricName[];

/** perplexity = exp(loss); bitsPerCharacter (or byte); accuracy and f1 (mean over classes, unweighted) from 0 to 1. */
export type Metrics = Readonly<Partial<Record<MetricName, number>>>;

/** How often a class was right, predicted and there. */
interface ClassCount {
  right: number;
  predicted: number;
  there: number;
}

/** Counts predictions by class. */
export class ClassCounts {
  private readonly classes: ClassCount[];
  private right = 0;
  private total = 0;

  constructor(numLabels: number) {
    this.classes = Array.from({ length: numLabels }, () => ({ right: 0, predicted: 0, there: 0 }));
  }

  add(predicted: number, actual: number): void {
    this.total++;
    this.classes[predicted].predicted++;
    this.classes[actual].there++;
    if (predicted !== actual) return;
    this.right++;
    this.classes[actual].right++;
  }

  get accuracy(): number {
    return this.right / this.total;
  }

  /** The mean of 2 right / (predicted + there) over the classes that occur at all: macro F1 as scikit-learn has it. */
  get f1(): number {
    const scores = this.classes.flatMap(({ right, predicted, there }) =>
      predicted + there > 0 ? [(2 * right) / (predicted + there)] : [],
    );
    return scores.reduce((sum, score) => sum + score, 0) / scores.length;
  }
}

/** Compares the output `predictions`, int32, with the input `targets`; targets below 0 count nothing. */
export class PredictionTally implements Tally {
  private right = 0;
  private total = 0;

  add({ arrays: { targets } }: Batch, outputs: RunOutputs): void {
    const predictions = outputs.get<'i32'>('predictions');
    for (let index = 0; index < targets.length; index++) {
      if (targets[index] < 0) continue;
      this.total++;
      if (predictions[index] === targets[index]) this.right++;
    }
  }

  metrics(loss: number): Metrics {
    return { perplexity: Math.exp(loss), accuracy: this.right / this.total };
  }
}
