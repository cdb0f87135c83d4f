import type { LanguageModel } from '../models/decoder.js';
import { crossEntropy } from '../ops/index.js';
import type { Objective } from './objective.js';

export interface CausalOptions {
  /** Tokens of a row. */
  sequenceLength: number;
  /** Share of the target's probability that is spread over the vocabulary, in training only. Default 0. */
  labelSmoothing?: number;
}

/** Causal language modelling: at every place, the next token. Targets are shifted already; -1 counts nothing. */
export const causal = ({ sequenceLength, labelSmoothing = 0 }: CausalOptions): Objective<LanguageModel> => ({
  name: 'causal',
  sequenceLength,
  inputs: (rows, vocabSize) => [
    { name: 'inputIds', shape: [rows, sequenceLength], dtype: 'i32', minimum: 0, limit: vocabSize },
    { name: 'targets', shape: [rows, sequenceLength], dtype: 'i32', minimum: -1, limit: vocabSize },
  ],
  loss: (model, { inputIds, targets }, training) =>
    crossEntropy(model.forward({ inputIds }).logits, targets, training ? labelSmoothing : 0),
});
