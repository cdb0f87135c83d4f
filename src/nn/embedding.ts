import type { Operand, Tensor } from '../graph/tensor.js';
import { embedding } from '../ops/index.js';
import { type Initialization, Module, normal, Parameter } from './module.js';

/** A table of vectors [vocabSize, hiddenSize], looked up by int32 ids. */
export class Embedding extends Module {
  readonly weight: Parameter;

  constructor(vocabSize: number, hiddenSize: number, initialization: Initialization = normal(0.02)) {
    super();
    this.weight = new Parameter([vocabSize, hiddenSize], initialization);
  }

  /** [...] int32 to [..., hiddenSize]. */
  forward(ids: Operand): Tensor {
    return embedding(ids, this.weight);
  }
}
