import { ConfigError } from '../errors.js';
import type { Graph, Slot } from './graph.js';
import { asTensor, type Operand, Tensor } from './tensor.js';

/** What a program that continues rows of a KV cache knows besides the new tokens. */
export interface Decoding {
  /** int32 [B]: how many tokens of each row are in the cache already. */
  readonly starts: Tensor;
  /** int32 [B]: how many of the new tokens of each row count. */
  readonly lengths: Tensor;
  /** int32 [B]: starts + lengths. */
  readonly totals: Tensor;
  /** int32 [B, capacity]: the row of the cache that holds each token of a row. Without it a row's tokens lie in its own. */
  readonly slots?: Tensor;
  /** Places for the keys and values of the next attention layer, [rows, capacity, heads, headDim] each. */
  readonly nextCache: (heads: number, headDim: number) => { keys: Slot; values: Slot };
}

export interface TraceContext {
  readonly graph: Graph;
  /** Whether dropout acts. */
  readonly training: boolean;
  readonly decoding?: Decoding;
}

let current: (TraceContext & { dropoutSites: number }) | undefined;

/** Runs `build` with a graph that parameters can join even before any tensor does. */
export function trace<T>(context: TraceContext, build: () => T): T {
  const outer = current;
  current = { ...context, dropoutSites: 0 };
  try {
    return build();
  } finally {
    current = outer;
  }
}

/** True while a training program is being traced. */
export const isTraining = (): boolean => current?.training ?? false;

/** The KV cache of the program being traced, if it has one. */
export const decoding = (): Decoding | undefined => current?.decoding;

/** Numbers the dropouts of a model in the order they are traced; each number draws masks of its own. */
export const nextDropoutSite = (): number => (current ? current.dropoutSites++ : 0);

/** The graph that `operands` live in, or the one being traced. */
export function graphOf(operands: readonly (Operand | undefined)[], op: string): Graph {
  for (const operand of operands) if (operand instanceof Tensor) return operand.graph;
  if (!current) throw new ConfigError(`${op}: no tensor among the inputs; call it inside forward()`);
  return current.graph;
}

/** A tensor for any operand; parameters join the graph being traced. */
export const toTensor = (operand: Operand): Tensor => asTensor(operand, graphOf([operand], 'tensor'));
