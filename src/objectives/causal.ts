import type { LanguageModel } from '../models/decoder.js';
import { crossEntropy } from '../ops/index.js';
import type { Objective } from './objective.js';

/** Causal language modelling: at every place, the next token. Targets are shifted already; -1 counts nothing. */
export const causal: Objective<LanguageModel> = {
  name: 'causal',
  inputs: (rows, length, vocabSize) => [
    { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
    { name: 'targets', shape: [rows, length], dtype: 'i32', minimum: -1, limit: vocabSize },
  ],
  loss(model, { inputIds, targets }, labelSmoothing) {
    return crossEntropy(model.forward({ inputIds }).logits, targets, labelSmoothing);
  },
};
