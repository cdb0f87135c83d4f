import { type CompileOptions, compile, type Program } from '#src/compile/index.js';
import type { Graph, Slot } from '#src/graph/graph.js';
import type { ScalarName } from '#src/ops/scalars.js';
import { contiguousStrides } from '#src/shape/shape.js';
import type { NumberArray } from '../reference/array.js';
import { Arenas, interpret } from '../reference/interpreter.js';
import { Machine } from '../reference/machine.js';

/** What a graph is run with, besides itself. */
export interface Situation {
  readonly inputs: Readonly<Record<string, ArrayLike<number>>>;
  /** Slots and what they hold before the run; they are compared after it. */
  readonly state?: readonly { slot: Slot; values: ArrayLike<number> }[];
  readonly scalars?: Partial<Record<ScalarName, number>>;
}

/** Outputs and state after a run of a graph on the interpreter. */
export function interpreted(
  graph: Graph,
  { inputs, state = [], scalars }: Situation,
): Map<string, NumberArray> {
  const arenas = new Arenas();
  for (const { slot, values } of state) arenas.write(slot, values);
  const results = interpret(graph, { inputs, arenas, scalars });
  for (const { slot } of state) results.set(`@${slot.name}`, arenas.read(slot));
  return results;
}

/** The same of the compiled program, whose bytes are executed in float64. */
export function executed(
  graph: Graph,
  { inputs, state = [], scalars }: Situation,
  options: CompileOptions = {},
): { results: Map<string, NumberArray>; program: Program; machine: Machine } {
  const program = compile(graph, options);
  const machine = new Machine(program.bytes);
  for (const field of program.inputs) machine.setInput(field, inputs[field.name]);
  for (const { slot, values } of state) machine.set(slot, values);
  machine.run(scalars);
  const results = new Map(program.outputs.map((field) => [field.name, machine.output(field)] as const));
  for (const { slot } of state) {
    results.set(`@${slot.name}`, machine.read({ ...slot, strides: contiguousStrides(slot.shape) }));
  }
  return { results, program, machine };
}
