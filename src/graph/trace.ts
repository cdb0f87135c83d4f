import { ConfigError } from '../errors.js';
import type { Graph } from './graph.js';
import { asTensor, type Operand, Tensor } from './tensor.js';

let traced: Graph | undefined;

/** Runs `build` with a graph that parameters can join even before any tensor does. */
export function trace<T>(graph: Graph, build: () => T): T {
  const outer = traced;
  traced = graph;
  try {
    return build();
  } finally {
    traced = outer;
  }
}

/** The graph that `operands` live in, or the one being traced. */
export function graphOf(operands: readonly (Operand | undefined)[], op: string): Graph {
  for (const operand of operands) if (operand instanceof Tensor) return operand.graph;
  if (!traced) throw new ConfigError(`${op}: no tensor among the inputs; call it inside forward()`);
  return traced;
}

/** A tensor for any operand; parameters join the graph being traced. */
export const toTensor = (operand: Operand): Tensor => asTensor(operand, graphOf([operand], 'tensor'));
