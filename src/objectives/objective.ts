import type { PartName } from '../data/split.js';
import type { InputDeclaration } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import type { Module } from '../nn/index.js';
import type { LossSum } from '../ops/index.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Metrics } from './metrics.js';

/** The extents of a batch. Programs are compiled for each bucket; a batch that is smaller is padded. */
export interface Bucket {
  readonly rows: number;
  /** Tokens (or features) of a row; of the source where there are two. */
  readonly length: number;
  /** Tokens of a row of the target, where there are two. */
  readonly targetLength?: number;
}

/** What every objective's data have: a name for messages, and the tokenizer that made its ids if there are any. */
export interface ObjectiveData {
  readonly name: string;
  readonly tokenizer?: Tokenizer;
}

/** The inputs of one run. The arrays belong to their maker, who fills them again for the next batch. */
export interface Batch {
  /** Number of its bucket. */
  readonly bucket: number;
  readonly arrays: Readonly<Record<string, Int32Array | Float32Array>>;
  /** Tokens the model goes over, without padding. */
  readonly tokens: number;
}

export interface BatchOptions {
  /** Rows of a batch, where the objective does not count tokens instead. */
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly seed: number;
  readonly vocabSize: number;
}

/** Batches to train on: each a function of (seed, step, micro-step) alone, so that nothing is remembered to go on. */
export interface TrainingBatches {
  /** What of the data decides the batches; a resumed run must find it the same. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Rows that are left out because they are longer than every bucket. */
  readonly skippedRows: number;
  /** `step` counts the updates made before, from 0. */
  batchAt(step: number, microStep: number): Batch;
}

/** Reads what a run gave, by name. */
export interface RunOutputs {
  get<Type extends 'f32' | 'i32'>(name: string): Type extends 'i32' ? Int32Array : Float32Array;
}

/** Sums up what evaluation reads beside the loss. */
export interface Tally {
  /** Takes in the outputs of a batch, whose arrays still hold what the model was given. */
  add(batch: Batch, outputs: RunOutputs): void;
  /** `loss` is the mean over `tokens` targets, in nats. */
  metrics(loss: number, tokens: number): Metrics;
}

/** A pass over a part of the data in an order of its own, the same each time. */
export interface EvaluationBatches {
  readonly count: number;
  readonly skippedRows: number;
  batchAt(index: number): Batch;
  tally(): Tally;
}

export interface Loss extends LossSum {
  /** What evaluation reads of each batch beside the loss. Not in training programs. */
  readonly outputs?: Readonly<Record<string, Tensor>>;
}

/** What a model is trained to do: a data transform and a loss. */
export interface Objective<Model extends Module = Module, Data extends ObjectiveData = ObjectiveData> {
  readonly name: string;
  /** What decides the batches and the loss; a resumed run must have the same. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Whether its models are language models, which can be asked for the next token. Default false. */
  readonly continuesTexts?: boolean;
  /** JSON to be kept beside the weights, by the name of its file: what using the model takes beside its tokenizer. Default none. */
  readonly files?: Readonly<Record<string, unknown>>;
  /** At most eight. They share a session's memory, which is sized for the largest. */
  buckets(batchSize: number): readonly Bucket[];
  /** Inputs of a program for one bucket. */
  inputs(bucket: Bucket, vocabSize: number): readonly InputDeclaration[];
  loss(model: Model, inputs: Readonly<Record<string, Tensor>>, training: boolean): Loss;
  training(data: Data, options: BatchOptions): TrainingBatches;
  /** Whether a part holds anything to evaluate. */
  has(data: Data, part: PartName): boolean;
  evaluation(
    data: Data,
    part: PartName,
    options: Pick<BatchOptions, 'batchSize' | 'seed' | 'vocabSize'>,
  ): EvaluationBatches;
}

export const maxBuckets = 8;

/** Zeroed arrays for the inputs of a bucket. */
export const allocateInputs = (
  declarations: readonly InputDeclaration[],
): Record<string, Int32Array | Float32Array> =>
  Object.fromEntries(
    declarations.map(({ name, shape, dtype }) => {
      const length = shape.reduce((a, b) => a * b, 1);
      return [name, dtype === 'i32' ? new Int32Array(length) : new Float32Array(length)];
    }),
  );
