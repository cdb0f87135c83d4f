import { ConfigError } from '../errors.js';
import type { DType } from '../shape/dtype.js';
import type { Shape } from '../shape/shape.js';
import type { Graph, Node } from './graph.js';

/** A value of a graph: symbolic, holds no data. Ops on tensors append nodes to their graph. */
export class Tensor {
  constructor(
    readonly graph: Graph,
    readonly node: Node,
    /** Which output of the node this is. */
    readonly index: number,
    readonly shape: Shape,
    readonly dtype: DType,
  ) {}

  get rank(): number {
    return this.shape.length;
  }
}

/** Something an op takes: a tensor, or an object (a Parameter) that becomes one in the graph being traced. */
export interface TensorLike {
  toTensor(graph: Graph): Tensor;
}
export type Operand = Tensor | TensorLike;

export function asTensor(operand: Operand, graph: Graph): Tensor {
  const tensor = operand instanceof Tensor ? operand : operand.toTensor(graph);
  if (tensor.graph !== graph) throw new ConfigError('operands belong to different graphs');
  return tensor;
}
