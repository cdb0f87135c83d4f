import { type CompileOptions, compile, lowerPrecision } from '#src/compile/index.js';
import type { Slot } from '#src/graph/graph.js';
import { scale } from '#src/ops/index.js';
import type { DType } from '#src/shape/dtype.js';
import type { NumberArray } from '../reference/array.js';
import type { Tolerance } from '../reference/compare.js';
import { Arenas, interpret } from '../reference/interpreter.js';
import {
  guardBytes,
  guardedSlots,
  inputValues,
  type Sample,
  type SampleGraph,
  type SampleGraphOptions,
  sampleGraph,
  tolerances,
  valuesOf,
} from './sample.js';

/** Fills whatever no kernel may touch. As a float32 it is -7.8e-18, which no reduction would notice. */
export const sentinel = 0xa5;

/** A graph of a sample, compiled, with the places of what is compared after a run. */
export interface Trial {
  readonly way: Way;
  readonly built: SampleGraph;
  readonly program: ReturnType<typeof compile>;
  readonly kept: Readonly<Record<string, Slot>>;
  readonly keptBytes: number;
  readonly stateBytes: number;
}

/**
 * Ways to run a sample. `kept`: inputs of the run, results written to slots with guards around them, fused. `inside`:
 * the op works on values of the run, whose memory it may take over, and nothing is fused. Each also in bf16, as
 * lowerPrecision makes it: once with bf16 results, once with float32 ones.
 */
const ways = {
  kept: { build: {}, compile: {} },
  inside: { build: { wrap: (tensor) => scale(tensor, 1) }, compile: { fuse: false } },
  'kept in bf16': { build: {}, compile: { precision: 'bf16' } },
  'inside in bf16': {
    build: { wrap: (tensor) => scale(tensor, 1) },
    compile: { fuse: false, precision: 'bf16' },
  },
} satisfies Record<string, { build: SampleGraphOptions; compile: CompileOptions }>;
export type Way = keyof typeof ways;
const allWays = Object.keys(ways) as Way[];

const halved = ({ dtype }: { dtype: DType }): DType => (dtype === 'f32' ? 'bf16' : dtype);

/** The ways that differ for a sample: those in bf16 only where an op of it computes with bf16. */
export function waysOf(sample: Sample): Way[] {
  const { graph, outputs } = sampleGraph(sample, { backward: true });
  for (const [name, tensor] of Object.entries(outputs)) {
    graph.store(tensor, { arena: 'gradients', offset: 0, shape: tensor.shape, dtype: halved(tensor), name });
  }
  const lowered = lowerPrecision(graph).nodes.some(
    ({ op, outputs }) => op.name !== 'cast' && op.hasKernel && outputs.some(({ dtype }) => dtype === 'bf16'),
  );
  return allWays.filter((way) => lowered || !way.endsWith('bf16'));
}

/** Compiles a sample for one way. */
export function prepare(sample: Sample, way: Way): Trial {
  const built = sampleGraph(sample, { backward: true, ...ways[way].build });
  const { graph } = built;
  // The target is a sum of all outputs: it shows nothing that they do not.
  const { target: _, ...outputs } = built.outputs;
  const arrays = Object.entries(outputs).map(([name, tensor]) => {
    const dtype = way === 'kept in bf16' ? halved(tensor) : tensor.dtype;
    return [name, { shape: tensor.shape, dtype }] as const;
  });
  const kept = way.startsWith('kept')
    ? guardedSlots('gradients', Object.fromEntries(arrays))
    : { slots: {}, bytes: 0 };
  for (const [name, tensor] of Object.entries(outputs)) {
    const slot = (kept.slots as Record<string, Slot>)[name];
    if (slot) graph.store(tensor, slot);
    else graph.output(name, tensor);
  }
  const stateBytes = guardedSlots('kvCache', sample.slots ?? {}).bytes;
  const bare = compile(graph, ways[way].compile);
  const sized = {
    gradients: { bytes: kept.bytes, layoutHash: 0n },
    kvCache: { bytes: stateBytes, layoutHash: 0n },
    activations: { bytes: bare.memory.activations + guardBytes, layoutHash: 0n },
  };
  const program = compile(graph, { ...ways[way].compile, arenas: sized });
  return { way, built, program, kept: kept.slots, keptBytes: kept.bytes, stateBytes };
}

/** What the interpreter says, by output and slot. */
export function expectedOf(sample: Sample, { way, built, kept }: Trial): Map<string, NumberArray> {
  const arenas = new Arenas();
  for (const [name, slot] of Object.entries(built.state)) {
    arenas.write(slot, valuesOf(sample.name, name, sample.slots![name]));
  }
  const { scalars } = sample;
  const graph = way.endsWith('bf16') ? lowerPrecision(built.graph) : built.graph;
  const results = interpret(graph, { inputs: inputValues(sample, built), arenas, scalars });
  for (const slot of [...Object.values(kept), ...Object.values(built.state)]) {
    results.set(slot.name, arenas.read(slot));
  }
  return results;
}

/** Values as the bytes of a slot hold them. */
export function typed(dtype: DType, values: Float64Array): Int32Array | Float32Array | Uint16Array {
  if (dtype === 'i32') return Int32Array.from(values);
  const floats = Float32Array.from(values);
  // What is given as bf16 must be one: the upper half of a float32 then.
  return dtype === 'bf16' ? new Uint16Array(floats.buffer).filter((_, index) => index % 2 === 1) : floats;
}

/** What the arenas hold before the run: sentinels, and the state that in-place ops change. */
export function initialArenas(sample: Sample, { built, program, keptBytes, stateBytes }: Trial) {
  const filled = (bytes: number) => new Uint8Array(bytes).fill(sentinel);
  const kvCache = filled(stateBytes);
  for (const [name, { offset, dtype }] of Object.entries(built.state)) {
    const values = typed(dtype, valuesOf(sample.name, name, sample.slots![name]));
    kvCache.set(new Uint8Array(values.buffer), offset);
  }
  return { gradients: filled(keptBytes), kvCache, activations: filled(program.memory.activations) };
}

/** The bytes of the run's inputs. */
export function inputBytesOf(sample: Sample, { built, program }: Trial): Uint8Array {
  const inputs = new Uint8Array(program.inputBytes);
  const values = inputValues(sample, built);
  for (const { name, offset, dtype } of program.inputs) {
    inputs.set(new Uint8Array(typed(dtype, values[name]).buffer), offset);
  }
  return inputs;
}

/** How far a result of this name may be from float64. */
export function toleranceOf({ way, built }: Trial, name: string, data: NumberArray['data']): Tolerance {
  if (data instanceof Int32Array) return { rtol: 0, atol: 0 };
  const given = built.graph.nodes.some(({ outputs }) => outputs.some(({ dtype }) => dtype === 'bf16'));
  return tolerances[given || way.endsWith('bf16') ? 'bf16' : 'f32'][
    name.startsWith('gradient.') ? 'backward' : 'forward'
  ];
}
