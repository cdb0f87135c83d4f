import type { Operand, Tensor } from '../graph/tensor.js';
import { add, matmul, transpose } from '../ops/index.js';
import { type AdapterOptions, LowRankAdapter } from './adapter.js';
import { constant, type Initialization, Module, normal, Parameter } from './module.js';

/** How a matrix starts, or how that follows from its sizes. */
export type MatrixInitialization =
  | Initialization
  | ((inputSize: number, outputSize: number) => Initialization);

export interface LinearOptions {
  /** Default true. */
  bias?: boolean;
  /** Of the weight. Default: normal with deviation 0.02 (GPT-2). */
  initialization?: MatrixInitialization;
  /** True keeps the weight as [in, out], as GPT-2's checkpoints do; default [out, in]. */
  inputMajor?: boolean;
}

/** How a matrix of these sizes starts under `options`; one that is packed with others starts as if it stood alone. */
export function initializationOf(
  { initialization = normal(0.02) }: LinearOptions = {},
  inputSize: number,
  outputSize: number,
): Initialization {
  return typeof initialization === 'function' ? initialization(inputSize, outputSize) : initialization;
}

/** x W + b: [..., in] to [..., out]. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;
  /** A correction that is trained in place of the weight. */
  adapter?: LowRankAdapter;
  readonly inputMajor: boolean;

  constructor(
    private readonly inputSize: number,
    private readonly outputSize: number,
    options: LinearOptions = {},
  ) {
    super();
    this.inputMajor = options.inputMajor ?? false;
    const shape = this.inputMajor ? [inputSize, outputSize] : [outputSize, inputSize];
    this.weight = new Parameter(shape, initializationOf(options, inputSize, outputSize));
    if (options.bias ?? true) this.bias = new Parameter([outputSize], constant(0));
  }

  forward(x: Operand): Tensor {
    const product = matmul(x, this.inputMajor ? this.weight : transpose(this.weight));
    const y = this.bias ? add(product, this.bias) : product;
    return this.adapter ? add(y, this.adapter.forward(x)) : y;
  }

  /** Puts a low-rank adapter beside the weight, in place of one that is there. */
  adapt(options: AdapterOptions): void {
    this.adapter = new LowRankAdapter(this.inputSize, this.outputSize, options);
  }
}
