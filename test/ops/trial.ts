import { type CompileOptions, compile } from '#src/compile/index.js';
import type { Slot } from '#src/graph/graph.js';
import { scale } from '#src/ops/index.js';
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
  readonly built: SampleGraph;
  readonly program: ReturnType<typeof compile>;
  readonly kept: Readonly<Record<string, Slot>>;
  readonly keptBytes: number;
  readonly stateBytes: number;
}

/**
 * Two ways to run a sample. `kept`: inputs of the run, results written to slots with guards around them, fused. `inside`:
 * the op works on values of the run, whose memory it may take over, and nothing is fused.
 */
const ways = {
  kept: { build: {}, compile: {} },
  inside: { build: { wrap: (tensor) => scale(tensor, 1) }, compile: { fuse: false } },
} satisfies Record<string, { build: SampleGraphOptions; compile: CompileOptions }>;
export type Way = keyof typeof ways;

/** Compiles a sample for one way. */
export function prepare(sample: Sample, way: Way): Trial {
  const built = sampleGraph(sample, { backward: true, ...ways[way].build });
  const { graph } = built;
  // The target is a sum of all outputs: it shows nothing that they do not.
  const { target: _, ...outputs } = built.outputs;
  const kept = way === 'kept' ? guardedSlots('gradients', outputs) : { slots: {}, bytes: 0 };
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
  return { built, program, kept: kept.slots, keptBytes: kept.bytes, stateBytes };
}

/** What the interpreter says, by output and slot. */
export function expectedOf(sample: Sample, { built, kept }: Trial): Map<string, NumberArray> {
  const arenas = new Arenas();
  for (const [name, slot] of Object.entries(built.state)) {
    arenas.write(slot, valuesOf(sample.name, name, sample.slots![name]));
  }
  const { scalars } = sample;
  const results = interpret(built.graph, { inputs: inputValues(sample, built), arenas, scalars });
  for (const slot of [...Object.values(kept), ...Object.values(built.state)]) {
    results.set(slot.name, arenas.read(slot));
  }
  return results;
}

/** Values as the bytes of a slot hold them. */
export const typed = (dtype: 'f32' | 'i32' | string, values: Float64Array) =>
  dtype === 'i32' ? Int32Array.from(values) : Float32Array.from(values);

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
export function toleranceOf(name: string, data: NumberArray['data']): Tolerance {
  if (data instanceof Int32Array) return { rtol: 0, atol: 0 };
  return tolerances.f32[name.startsWith('gradient.') ? 'backward' : 'forward'];
}
