import type { Operand, Tensor } from '../graph/tensor.js';
import { add, embedding, embeddingBag } from '../ops/index.js';
import { constant, glorotUniform, type Initialization, Module, normal, Parameter } from './module.js';

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

/** A dense layer over sparse features: weighted sums of rows of a table [numFeatures, outputSize], and a bias. */
export class EmbeddingBag extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(numFeatures: number, outputSize: number) {
    super();
    this.weight = new Parameter([numFeatures, outputSize], glorotUniform(numFeatures, outputSize));
    this.bias = new Parameter([outputSize], constant(0));
  }

  /** int32 and float32 [..., W] to [..., outputSize]; what weighs 0 counts for nothing. */
  forward(ids: Operand, weights: Operand): Tensor {
    return add(embeddingBag(ids, weights, this.weight), this.bias);
  }
}
