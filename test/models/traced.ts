import { Graph, type InputDeclaration } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import { trace } from '#src/graph/trace.js';

type Tensors = Readonly<Record<string, Tensor>>;

/** A graph over declared inputs, evaluated or trained, whose outputs are what `build` returns by name. */
export function traced(
  inputs: readonly InputDeclaration[],
  build: (inputs: Tensors) => Readonly<Record<string, Tensor | undefined>>,
  training = false,
): Graph {
  const graph = new Graph();
  trace({ graph, training }, () => {
    const tensors = Object.fromEntries(inputs.map((input) => [input.name, graph.input(input)]));
    for (const [name, tensor] of Object.entries(build(tensors))) if (tensor) graph.output(name, tensor);
  });
  return graph;
}

/** An int32 input of each run. */
export const ids = (
  name: string,
  shape: readonly number[],
  limit: number,
  minimum = 0,
): InputDeclaration => ({
  name,
  shape,
  dtype: 'i32',
  minimum,
  limit,
});
