import { extentsFor } from '../data/rowBatches.js';
import type { PairData, Pairs } from '../data/rowData.js';
import { ConfigError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import type { Module } from '../nn/index.js';
import { crossEntropy, reshape, sample } from '../ops/index.js';
import { PredictionTally } from './metrics.js';
import { type Bucket, type Loss, maxBuckets, type Objective } from './objective.js';
import { rowObjective } from './rowObjective.js';

/** A model that reads a source and writes a target: logits [B, T, vocabSize]. */
export interface SequenceToSequenceModel extends Module {
  forward(inputs: {
    inputIds: Tensor;
    inputLengths: Tensor;
    decoderInputIds: Tensor;
    decoderLengths: Tensor;
  }): { logits: Tensor };
}

export interface TargetTokens {
  /** What a target begins and what it ends with. */
  readonly bos: number;
  readonly eos: number;
}

export interface SequenceToSequenceOptions extends TargetTokens {
  /** Extents of batches, the special tokens included; `pairBuckets` finds good ones. */
  buckets: readonly Required<Bucket>[];
  /** Share of the target's probability that is spread over the vocabulary, in training only. Default 0. */
  labelSmoothing?: number;
}

/**
 * Buckets for pairs whose batches have about `tokensPerBatch` tokens on their longer side, padding included. A source is followed by
 * eos, a target has bos before or eos behind it: one token more each. Pairs longer than `maxLength` fit none.
 */
export function pairBuckets(
  { source, target }: Pairs,
  { tokensPerBatch, maxLength }: { tokensPerBatch: number; maxLength: number },
): Required<Bucket>[] {
  const rows = Array.from({ length: source.count }, (_, row) => ({
    length: source.lengthOf(row) + 1,
    targetLength: target.lengthOf(row) + 1,
  })).filter(({ length, targetLength }) => Math.max(length, targetLength) <= maxLength);
  return extentsFor(rows, { count: maxBuckets }).map(({ length, targetLength }) => {
    const longer = Math.max(length, targetLength);
    if (longer > tokensPerBatch) {
      throw new ConfigError(
        `tokensPerBatch ${tokensPerBatch} is less than the longest row, ${longer}; use at least ${longer}`,
      );
    }
    return { rows: Math.floor(tokensPerBatch / longer), length, targetLength };
  });
}

/** Inputs of a batch of pairs. */
export const pairInputs: Objective<SequenceToSequenceModel>['inputs'] = (
  { rows, length, targetLength },
  vocabSize,
) => {
  const target = [rows, targetLength!];
  return [
    { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
    { name: 'inputLengths', shape: [rows], dtype: 'i32', minimum: 0, limit: length + 1 },
    { name: 'decoderInputIds', shape: target, dtype: 'i32', minimum: 0, limit: vocabSize },
    { name: 'decoderLengths', shape: [rows], dtype: 'i32', minimum: 0, limit: targetLength! + 1 },
    { name: 'targets', shape: target, dtype: 'i32', minimum: -1, limit: vocabSize },
  ];
};

/** Cross entropy of the target; evaluation sees the likeliest tokens too. */
export function pairLoss(
  model: SequenceToSequenceModel,
  { inputIds, inputLengths, decoderInputIds, decoderLengths, targets }: Readonly<Record<string, Tensor>>,
  labelSmoothing: number,
  training: boolean,
): Loss {
  const { logits } = model.forward({ inputIds, inputLengths, decoderInputIds, decoderLengths });
  const loss = crossEntropy(logits, targets, training ? labelSmoothing : 0);
  return training ? loss : { ...loss, outputs: { predictions: likeliest(logits) } };
}

/** int32 [N]: the likeliest token of each row of logits [..., V], where the run's temperature is 0. */
export const likeliest = (logits: Tensor): Tensor =>
  sample(reshape(logits, [-1, logits.shape.at(-1)!])).token;

/** Sets bos and the target as the decoder's input, the target and eos as what it must say. */
export function fillTarget(
  arrays: Readonly<Record<string, Int32Array>>,
  place: number,
  length: number,
  { bos, eos }: TargetTokens,
  read: (target: Int32Array, offset: number) => void,
): void {
  const { decoderInputIds, decoderLengths, targets } = arrays;
  const begin = place * (targets.length / decoderLengths.length);
  decoderInputIds[begin] = bos;
  read(decoderInputIds, begin + 1);
  targets.set(decoderInputIds.subarray(begin + 1, begin + length), begin);
  targets[begin + length - 1] = eos;
  decoderLengths[place] = length;
}

/** From a source to a target (Sutskever et al. 2014): source eos -> target eos. Scored by perplexity and accuracy of tokens. */
export function sequenceToSequence(
  options: SequenceToSequenceOptions,
): Objective<SequenceToSequenceModel, PairData> {
  const { buckets, bos, eos, labelSmoothing = 0 } = options;
  return rowObjective<SequenceToSequenceModel, PairData>({
    name: 'sequence-to-sequence',
    settings: { buckets, bos, eos, labelSmoothing },
    buckets: () => buckets,
    inputs: pairInputs,
    loss: (model, inputs, training) => pairLoss(model, inputs, labelSmoothing, training),
    padding: { targets: -1 },
    rows(data, part) {
      const pairs = data.parts[part];
      if (!pairs) return undefined;
      const { source, target } = pairs;
      return {
        count: source.count,
        bucketOf: (row) => {
          const [length, targetLength] = [source.lengthOf(row) + 1, target.lengthOf(row) + 1];
          return buckets.findIndex(
            (bucket) => length <= bucket.length && targetLength <= bucket.targetLength,
          );
        },
        fill(arrays, place, row) {
          const { inputIds, inputLengths } = arrays as Record<string, Int32Array>;
          const [length, targetLength] = [source.lengthOf(row), target.lengthOf(row)];
          const begin = place * (inputIds.length / inputLengths.length);
          source.read(row, inputIds, begin, length);
          inputIds[begin + length] = eos;
          inputLengths[place] = length + 1;
          fillTarget(
            arrays as Record<string, Int32Array>,
            place,
            targetLength + 1,
            { bos, eos },
            (ids, offset) => target.read(row, ids, offset, targetLength),
          );
          return length + 1 + targetLength + 1;
        },
      };
    },
    tally: () => new PredictionTally(),
  });
}
