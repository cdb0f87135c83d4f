import type { Tensor } from '../graph/tensor.js';
import { decoding } from '../graph/trace.js';
import { arange, embedding, positionsFrom, sinusoidal } from '../ops/index.js';
import { type Initialization, Module, normal, Parameter } from './module.js';

/** Positions of the tokens being traced: int32 [length], or [batch, length] where rows continue a KV cache. */
export function tokenPositions(length: number): Tensor {
  const cache = decoding();
  return cache ? positionsFrom(cache.starts, length) : arange(length);
}

/** Learned positions (GPT-2): a vector for each of maxPositionEmbeddings places. */
export class LearnedPositions extends Module {
  readonly weight: Parameter;

  constructor(
    maxPositionEmbeddings: number,
    hiddenSize: number,
    initialization: Initialization = normal(0.02),
  ) {
    super();
    this.weight = new Parameter([maxPositionEmbeddings, hiddenSize], initialization);
  }

  /** [length, hiddenSize], or [batch, length, hiddenSize] while decoding. */
  forward(length: number): Tensor {
    return embedding(tokenPositions(length), this.weight);
  }
}

/** Sinusoidal positions (Vaswani et al. 2017, section 3.5): no parameters. */
export class SinusoidalPositions extends Module {
  constructor(readonly hiddenSize: number) {
    super();
  }

  forward(length: number): Tensor {
    return sinusoidal(tokenPositions(length), this.hiddenSize);
  }
}
