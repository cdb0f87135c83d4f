import { Graph, type Slot } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import { trace } from '#src/graph/trace.js';
import type { DType } from '#src/shape/dtype.js';
import type { Shape } from '#src/shape/shape.js';
import { integers, normal, valuesOf } from '../ops/sample.js';

/** A graph over inputs by name, with the outputs that `build` returns. Inputs called ids are int32 below 5. */
export function graphOf(
  inputs: Readonly<Record<string, Shape>>,
  build: (tensors: Readonly<Record<string, Tensor>>, graph: Graph) => Readonly<Record<string, Tensor>>,
): Graph {
  const graph = new Graph();
  const tensors = Object.entries(inputs).map(([name, shape]) => {
    const dtype: DType = name === 'ids' ? 'i32' : 'f32';
    return [name, graph.input({ name, shape, dtype })] as const;
  });
  const outputs = trace({ graph, training: true }, () => build(Object.fromEntries(tensors), graph));
  for (const [name, tensor] of Object.entries(outputs)) graph.output(name, tensor);
  return graph;
}

/** Random values for all inputs of a graph. */
export function randomInputs(graph: Graph, seed: string): Record<string, Float64Array> {
  const declarations = graph.nodes.flatMap(({ input }) => (input ? [input] : []));
  return Object.fromEntries(
    declarations.map(({ name, shape, dtype }) => {
      const array = dtype === 'i32' ? integers(shape, 0, 5) : normal(shape);
      return [name, valuesOf(seed, name, array)];
    }),
  );
}

/** A place in an arena that outlives runs. */
export const slotAt = (name: string, offset: number, shape: Shape): Slot => ({
  arena: 'gradients',
  name,
  offset,
  shape,
  dtype: 'f32',
});

/** A text without its indentation, line by line. */
export const lines = (text: string): string[] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.trim());
