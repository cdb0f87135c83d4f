import type { Tensor } from '../graph/tensor.js';
import { isTraining, nextDropoutSite } from '../graph/trace.js';
import { dropout } from '../ops/index.js';

/** Dropout in training programs, nothing elsewhere. A probability of 0 takes no number of the model's dropouts. */
export const dropoutInTraining = (x: Tensor, probability: number): Tensor =>
  isTraining() && probability > 0 ? dropout(x, probability, nextDropoutSite()) : x;
