import type { LabelledData } from '../data/rowData.js';
import type { Tensor } from '../graph/tensor.js';
import type { Module } from '../nn/index.js';
import type { BagOfWords } from '../text/bagOfWords.js';
import { classLoss, classTally } from './classification.js';
import type { Bucket, Objective } from './objective.js';
import { rowObjective } from './rowObjective.js';

/** A model that scores the classes of sparse features: logits [B, numLabels] of int32 and float32 [B, W], weights of 0 being padding. */
export interface SparseFeatureModel extends Module {
  forward(inputs: { featureIds: Tensor; featureWeights: Tensor }): { logits: Tensor };
}

export interface BagOfWordsClassificationOptions {
  /** Number of classes. */
  numLabels: number;
  /** Makes the features of a text. Kept as features.json beside the weights. */
  features: BagOfWords;
  /**
   * Numbers of features that batches are padded to, ascending, at most eight. A text with more than the last keeps those of the greatest
   * weight.
   */
  lengths: readonly number[];
  /** Share of the target's probability that is spread over the classes, in training only. Default 0. */
  labelSmoothing?: number;
}

/** Where a model's features are kept, beside its weights. */
export const featuresFile = 'features.json';

/**
 * Softmax classification of texts by which words they have, in whatever order. Scored by accuracy and macro F1.
 *
 * A row of features is made when its batch is: what is in memory of the data are tokens. Rows stay sparse all the way into the first
 * layer (`embeddingBag`), which for a sentence of 20 words and 10,000 features is 1/500 of the arithmetic and of the memory of a dense row.
 */
export function bagOfWordsClassification(
  options: BagOfWordsClassificationOptions,
): Objective<SparseFeatureModel, LabelledData> {
  const { numLabels, features, lengths, labelSmoothing = 0 } = options;
  const { numFeatures, weighting } = features;
  return rowObjective<SparseFeatureModel, LabelledData>({
    name: 'bag-of-words',
    settings: { numLabels, numFeatures, weighting, lengths, labelSmoothing },
    files: { [featuresFile]: features.toJSON() },
    buckets: (batchSize) => lengths.map((length): Bucket => ({ rows: batchSize, length })),
    inputs: ({ rows, length }) => [
      { name: 'featureIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: numFeatures },
      { name: 'featureWeights', shape: [rows, length], dtype: 'f32' },
      { name: 'targets', shape: [rows], dtype: 'i32', minimum: -1, limit: numLabels },
    ],
    loss: (model, { featureIds, featureWeights, targets }, training) =>
      classLoss(model.forward({ featureIds, featureWeights }).logits, targets, labelSmoothing, training),
    padding: { targets: -1 },
    rows(data, part) {
      const labelled = data.parts[part];
      if (!labelled) return undefined;
      const { rows, labels } = labelled;
      const featuresOf = (row: number) => {
        const ids = new Int32Array(rows.lengthOf(row));
        rows.read(row, ids, 0, ids.length);
        return features.encode(ids, lengths.at(-1));
      };
      return {
        count: rows.count,
        bucketOf(row) {
          const found = featuresOf(row).ids.length;
          return lengths.findIndex((length) => found <= length);
        },
        fill({ featureIds, featureWeights, targets }, place, row) {
          const { ids, weights } = featuresOf(row);
          const width = featureIds.length / targets.length;
          featureIds.set(ids, place * width);
          featureWeights.set(weights, place * width);
          targets[place] = labels[row];
          return ids.length;
        },
      };
    },
    tally: () => classTally(numLabels),
  });
}
