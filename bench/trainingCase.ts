import { randomText } from '#src/inspect/takenStep.js';
import type { DecoderOptions } from '#src/models/config.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import { adamw } from '#src/train/optimizer.js';
import { Stepper, type StepperOptions } from '#src/train/stepper.js';

/** A GPT-2-like decoder and a batch: what all peers of the step benchmark build. */
export interface TrainingCase {
  readonly name: string;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly heads: number;
  readonly sequenceLength: number;
  readonly batchSize: number;
  readonly vocabSize: number;
}

export const trainingCases: readonly TrainingCase[] = [
  { name: 'tiny', layers: 2, hiddenSize: 64, heads: 2, sequenceLength: 32, batchSize: 8, vocabSize: 65 },
  { name: 'd128', layers: 4, hiddenSize: 128, heads: 4, sequenceLength: 64, batchSize: 12, vocabSize: 65 },
  { name: 'd384', layers: 6, hiddenSize: 384, heads: 6, sequenceLength: 256, batchSize: 8, vocabSize: 65 },
  { name: 'd512', layers: 6, hiddenSize: 512, heads: 8, sequenceLength: 256, batchSize: 8, vocabSize: 65 },
];

/** So small that a step is little else than its overheads. */
export const smallestCase: TrainingCase = {
  name: 'smallest',
  layers: 1,
  hiddenSize: 32,
  heads: 2,
  sequenceLength: 16,
  batchSize: 2,
  vocabSize: 65,
};

/** What a case is run with. */
export interface CaseOptions
  extends Pick<StepperOptions, 'device' | 'threads' | 'precision'>,
    Partial<Pick<StepperOptions, 'maxSteps'>> {
  /** Of the model, beyond the case. */
  readonly model?: Partial<DecoderOptions>;
}

/** What a stepper or a trainer of a case is made of, with Adam and clipping to norm 1, as the peers have them. */
export function caseOptions(shape: TrainingCase, options: CaseOptions = {}): StepperOptions {
  const { layers, hiddenSize, heads, sequenceLength, batchSize, vocabSize } = shape;
  const { device = 'cpu', threads, precision, maxSteps = 1e9 } = options;
  const model = new Decoder({
    vocabSize,
    hiddenSize,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    maxPositionEmbeddings: sequenceLength,
    hiddenAct: 'gelu',
    ...options.model,
  });
  return {
    model,
    objective: causal({ sequenceLength }),
    data: randomText(vocabSize, 40 * batchSize * sequenceLength, 1),
    optimizer: adamw({ learningRate: 1e-4, beta2: 0.95, weightDecay: 0.1 }),
    batchSize,
    maxSteps,
    gradientAccumulationSteps: 1,
    clip: { mode: 'norm', maximum: 1 },
    seed: 1,
    device,
    threads,
    precision,
  };
}

/** A stepper for a case on the CPU. */
export const stepperOf = (shape: TrainingCase, threads: number | undefined, maxSteps?: number): Stepper =>
  new Stepper(caseOptions(shape, { threads, maxSteps }));

/** Seconds of each of `count` steps, the next always queued while one runs. */
export async function timeSteps(stepper: Stepper, first: number, count: number): Promise<number[]> {
  const seconds: number[] = [];
  let last = performance.now();
  let running = stepper.submit(first);
  for (let step = 1; step <= count; step++) {
    const next = step < count ? stepper.submit(first + step) : undefined;
    await running;
    const now = performance.now();
    seconds.push((now - last) / 1000);
    last = now;
    if (next) running = next;
  }
  return seconds;
}
