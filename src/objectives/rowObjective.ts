import { BucketedRows, evaluationRowBatches, type RowBatch, TrainingRowBatches } from '../data/rowBatches.js';
import type { PartName } from '../data/split.js';
import type { Module } from '../nn/index.js';
import {
  allocateInputs,
  type Batch,
  type BatchOptions,
  type EvaluationBatches,
  type Objective,
  type ObjectiveData,
  type Tally,
} from './objective.js';

export type Arrays = Readonly<Record<string, Int32Array | Float32Array>>;

/** A part of the data as an objective's rows. */
export interface RowReader {
  readonly count: number;
  /** The first bucket a row fits, or -1. */
  bucketOf(row: number): number;
  /**
   * Fills place `place` of the arrays of a bucket, which hold padding, with a row; returns how many tokens the model reads of it.
   * `epoch` tells passes over the data apart for those who draw noise.
   */
  fill(arrays: Arrays, place: number, row: number, epoch: number): number;
}

/** What is different from one objective over rows to another. */
export interface RowTask<Model extends Module, Data extends ObjectiveData>
  extends Pick<
    Objective<Model, Data>,
    'name' | 'settings' | 'continuesTexts' | 'files' | 'buckets' | 'inputs' | 'loss'
  > {
  /** The rows of a part, or undefined where it is empty. */
  rows(data: Data, part: PartName, options: { seed: number; batchSize: number }): RowReader | undefined;
  /** Values of arrays that stand for padding where they are not 0. */
  readonly padding?: Readonly<Record<string, number>>;
  tally(data: Data): Tally;
}

/** An objective whose batches are rows of one bucket each, padded. */
export function rowObjective<Model extends Module, Data extends ObjectiveData>(
  task: RowTask<Model, Data>,
): Objective<Model, Data> {
  const { rows: rowsOf, tally, padding = {}, ...objective } = task;

  const bucketed = (data: Data, part: PartName, options: { seed: number; batchSize: number }) => {
    const reader = rowsOf(data, part, options);
    const buckets = task.buckets(options.batchSize);
    const sorted = new BucketedRows(reader?.count ?? 0, buckets.length, (row) => reader!.bucketOf(row), part);
    return { reader: reader!, sorted, extents: buckets.map(({ rows }) => rows) };
  };

  const filler = (
    reader: RowReader,
    { batchSize, vocabSize }: Pick<BatchOptions, 'batchSize' | 'vocabSize'>,
  ) => {
    const inputs = task.buckets(batchSize).map((bucket) => allocateInputs(task.inputs(bucket, vocabSize)));
    return ({ bucket, rows, epoch }: RowBatch): Batch => {
      const arrays = inputs[bucket];
      for (const [name, array] of Object.entries(arrays)) array.fill(padding[name] ?? 0);
      let tokens = 0;
      rows.forEach((row, place) => {
        tokens += reader.fill(arrays, place, row, epoch);
      });
      return { bucket, arrays, tokens };
    };
  };

  return {
    ...objective,
    has: (data, part) => (rowsOf(data, part, { seed: 0, batchSize: 1 })?.count ?? 0) > 0,
    training(data, options) {
      const { reader, sorted, extents } = bucketed(data, 'train', options);
      const batches = new TrainingRowBatches(sorted, extents, options.seed);
      const fill = filler(reader, options);
      return {
        data: { rows: reader.count, batchesPerEpoch: batches.batchesPerEpoch },
        skippedRows: sorted.skippedRows,
        batchAt: (step, microStep) => fill(batches.at(step * options.gradientAccumulationSteps + microStep)),
      };
    },
    evaluation(data, part, options): EvaluationBatches {
      const { reader, sorted, extents } = bucketed(data, part, options);
      const batches = evaluationRowBatches(sorted, extents);
      const fill = filler(reader, options);
      return {
        count: batches.length,
        skippedRows: sorted.skippedRows,
        batchAt: (index) => fill(batches[index]),
        tally: () => tally(data),
      };
    },
  };
}
