import type { FeatureData, LabelledData } from '../data/rowData.js';
import type { Tensor } from '../graph/tensor.js';
import type { Module } from '../nn/index.js';
import { crossEntropy } from '../ops/index.js';
import { ClassCounts } from './metrics.js';
import type { Bucket, Loss, Objective, Tally } from './objective.js';
import { rowObjective } from './rowObjective.js';

/** A model that scores the classes of a text: logits [B, numLabels] of int32 [B, T] of which lengths [B] count. */
export interface ClassificationModel extends Module {
  forward(inputs: { inputIds: Tensor; lengths: Tensor }): { logits: Tensor };
}

export interface ClassificationOptions {
  /** Number of classes. */
  numLabels: number;
  /** Lengths that batches are padded to, ascending, at most eight. Longer texts are cut to the last. */
  lengths: readonly number[];
  /** A token put before each text, such as BERT's [CLS]. Default: none. */
  cls?: number;
  /** Share of the target's probability that is spread over the classes, in training only. Default 0. */
  labelSmoothing?: number;
}

/** Logits are few: which class is likeliest is seen by looking. */
export function classTally(numLabels: number): Tally {
  const counts = new ClassCounts(numLabels);
  return {
    add({ arrays: { targets } }, outputs) {
      const logits = outputs.get<'f32'>('logits');
      targets.forEach((target, row) => {
        if (target < 0) return;
        const scores = logits.subarray(row * numLabels, (row + 1) * numLabels);
        counts.add(scores.indexOf(Math.max(...scores)), target);
      });
    },
    metrics: () => ({ accuracy: counts.accuracy, f1: counts.f1 }),
  };
}

/** Loss over logits [B, numLabels], which evaluation reads. */
export function classLoss(logits: Tensor, targets: Tensor, labelSmoothing: number, training: boolean): Loss {
  return {
    ...crossEntropy(logits, targets, training ? labelSmoothing : 0),
    outputs: training ? undefined : { logits },
  };
}

/** Softmax classification of texts. Scored by accuracy and macro F1. */
export function classification(options: ClassificationOptions): Objective<ClassificationModel, LabelledData> {
  const { numLabels, lengths, cls, labelSmoothing = 0 } = options;
  const before = cls === undefined ? 0 : 1;
  const longest = lengths.at(-1)!;
  return rowObjective<ClassificationModel, LabelledData>({
    name: 'classification',
    settings: { numLabels, lengths, cls, labelSmoothing },
    buckets: (batchSize) => lengths.map((length): Bucket => ({ rows: batchSize, length })),
    inputs: ({ rows, length }, vocabSize) => [
      { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
      { name: 'lengths', shape: [rows], dtype: 'i32', minimum: 0, limit: length + 1 },
      { name: 'targets', shape: [rows], dtype: 'i32', minimum: -1, limit: numLabels },
    ],
    loss: (model, { inputIds, lengths, targets }, training) =>
      classLoss(model.forward({ inputIds, lengths }).logits, targets, labelSmoothing, training),
    padding: { targets: -1 },
    rows(data, part) {
      const labelled = data.parts[part];
      if (!labelled) return undefined;
      const { rows, labels } = labelled;
      const lengthOf = (row: number) => Math.max(1, Math.min(longest, before + rows.lengthOf(row)));
      return {
        count: rows.count,
        bucketOf: (row) => lengths.findIndex((length) => lengthOf(row) <= length),
        fill(arrays, place, row) {
          const { inputIds, lengths, targets } = arrays as Record<string, Int32Array>;
          const width = inputIds.length / targets.length;
          const length = lengthOf(row);
          if (cls !== undefined) inputIds[place * width] = cls;
          // An empty text is one token of padding, so that there is something to classify.
          rows.read(row, inputIds, place * width + before, Math.min(rows.lengthOf(row), length - before));
          lengths[place] = length;
          targets[place] = labels[row];
          return length;
        },
      };
    },
    tally: () => classTally(numLabels),
  });
}

/** A model that scores the classes of a row of numbers: float32 [B, numFeatures] to logits [B, numLabels]. */
export interface FeatureModel extends Module {
  forward(inputs: { features: Tensor }): { logits: Tensor };
}

/** Softmax classification of rows of numbers. Scored by accuracy and macro F1. */
export const featureClassification = (options: {
  numLabels: number;
  numFeatures: number;
  labelSmoothing?: number;
}): Objective<FeatureModel, FeatureData> => {
  const { numLabels, numFeatures, labelSmoothing = 0 } = options;
  return rowObjective<FeatureModel, FeatureData>({
    name: 'feature-classification',
    settings: { numLabels, numFeatures, labelSmoothing },
    buckets: (batchSize) => [{ rows: batchSize, length: 1 }],
    inputs: ({ rows }) => [
      { name: 'features', shape: [rows, numFeatures], dtype: 'f32' },
      { name: 'targets', shape: [rows], dtype: 'i32', minimum: -1, limit: numLabels },
    ],
    loss: (model, { features, targets }, training) =>
      classLoss(model.forward({ features }).logits, targets, labelSmoothing, training),
    padding: { targets: -1 },
    rows(data, part) {
      const rows = data.parts[part];
      return (
        rows && {
          count: rows.labels.length,
          bucketOf: () => 0,
          fill(arrays, place, row) {
            arrays.features.set(rows.features[row], place * numFeatures);
            arrays.targets[place] = rows.labels[row];
            return 1;
          },
        }
      );
    },
    tally: () => classTally(numLabels),
  });
};
