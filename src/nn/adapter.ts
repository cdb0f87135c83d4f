import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { add, matmul, scale, transpose } from '../ops/index.js';
import { dropoutInTraining } from './dropout.js';
import type { Linear } from './linear.js';
import { constant, Module, Parameter, uniform } from './module.js';

export interface AdapterOptions {
  /** Inner width, far below that of the matrix. */
  rank: number;
  /** The correction is multiplied by alpha / rank. Default: rank. */
  alpha?: number;
  /** Dropout of what enters the adapter. Default 0. */
  dropout?: number;
}

/**
 * A correction of low rank to a dense layer (LoRA; Hu et al. 2021, arXiv:2106.09685, section 4.1): alpha / rank * up down x. `up` starts
 * at 0, so that the model is at first what it was.
 */
export class LowRankAdapter extends Module {
  /** [rank, in] and [out, rank]. */
  readonly down: Parameter;
  readonly up: Parameter;
  readonly options: Required<AdapterOptions>;

  constructor(inputSize: number, outputSize: number, { rank, alpha = rank, dropout = 0 }: AdapterOptions) {
    super();
    this.options = { rank, alpha, dropout };
    this.down = new Parameter([rank, inputSize], uniform(1 / Math.sqrt(inputSize)));
    this.up = new Parameter([outputSize, rank], constant(0));
  }

  private get factor(): number {
    return this.options.alpha / this.options.rank;
  }

  /** [..., in] to the correction [..., out]. */
  forward(x: Operand): Tensor {
    const inner = matmul(dropoutInTraining(toTensor(x), this.options.dropout), transpose(this.down));
    return scale(matmul(inner, transpose(this.up)), this.factor);
  }

  /** The weight of `linear` with the correction in it. */
  merged({ weight, inputMajor }: Linear): Tensor {
    const product = inputMajor
      ? matmul(transpose(this.down), transpose(this.up))
      : matmul(this.up, this.down);
    return add(weight, scale(product, this.factor));
  }
}
