import type { Operand, Tensor } from '../graph/tensor.js';
import { layerNorm, rmsNorm } from '../ops/index.js';
import { constant, Module, Parameter } from './module.js';

export interface LayerNormOptions {
  /** Default 1e-5. */
  epsilon?: number;
  /** Default true. */
  bias?: boolean;
}

/** Layer normalisation over the last axis. */
export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;
  readonly epsilon: number;

  constructor(size: number, options: LayerNormOptions = {}) {
    super();
    this.epsilon = options.epsilon ?? 1e-5;
    this.weight = new Parameter([size], constant(1));
    if (options.bias ?? true) this.bias = new Parameter([size], constant(0));
  }

  forward(x: Operand): Tensor {
    return layerNorm(x, this.weight, this.bias, { epsilon: this.epsilon });
  }
}

/** Root mean square normalisation over the last axis. */
export class RmsNorm extends Module {
  readonly weight: Parameter;

  constructor(
    size: number,
    readonly epsilon = 1e-5,
  ) {
    super();
    this.weight = new Parameter([size], constant(1));
  }

  forward(x: Operand): Tensor {
    return rmsNorm(x, this.weight, { epsilon: this.epsilon });
  }
}
