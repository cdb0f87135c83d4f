import { type CompileOptions, compile } from '#src/compile/index.js';
import type { Slot } from '#src/graph/graph.js';
import { encodeScalars, scale } from '#src/ops/index.js';
import { Session } from '#src/runtime/session.js';
import { dtypeBytes } from '#src/shape/dtype.js';
import { type Shape, sizeOf } from '#src/shape/shape.js';
import { testDevice } from '../device.js';
import { arrayOf, type NumberArray } from '../reference/array.js';
import { difference } from '../reference/compare.js';
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
const sentinel = 0xa5;

/** A graph of a sample, compiled, with the places of what is compared after a run. */
interface Trial {
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

function prepare(sample: Sample, way: Way): Trial {
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
function expectedOf(sample: Sample, { built, kept }: Trial): Map<string, NumberArray> {
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

const typed = (dtype: 'f32' | 'i32' | string, values: Float64Array) =>
  dtype === 'i32' ? Int32Array.from(values) : Float32Array.from(values);

function numbersAt(
  bytes: Uint8Array,
  place: { offset: number; shape: Shape; dtype: Slot['dtype'] },
): NumberArray {
  const { offset, shape, dtype } = place;
  const start = bytes.byteOffset + offset;
  const count = sizeOf(shape);
  return arrayOf(
    shape,
    dtype,
    dtype === 'i32'
      ? new Int32Array(bytes.buffer, start, count)
      : new Float32Array(bytes.buffer, start, count),
  );
}

/** Fails where a byte outside of all slots is no longer the sentinel. */
function checkGuards(arena: string, bytes: Uint8Array, slots: readonly Slot[]): void {
  const inside = new Uint8Array(bytes.length);
  for (const { offset, shape, dtype } of slots) {
    inside.fill(1, offset, offset + sizeOf(shape) * dtypeBytes(dtype));
  }
  bytes.forEach((byte, index) => {
    if (inside[index] || byte === sentinel) return;
    throw new Error(`${arena}: byte ${index}, which belongs to nobody, was written`);
  });
}

/** Results of one run with native kernels, by output and slot. */
async function execute(sample: Sample, trial: Trial, threads: number): Promise<Map<string, NumberArray>> {
  const { built, program, kept, keptBytes, stateBytes } = trial;
  const session = Session.open({ device: testDevice, threads });
  try {
    const [id] = await session.load([program.bytes]);
    const state = new Uint8Array(stateBytes).fill(sentinel);
    for (const [name, { offset, dtype }] of Object.entries(built.state)) {
      const values = typed(dtype, valuesOf(sample.name, name, sample.slots![name]));
      state.set(new Uint8Array(values.buffer), offset);
    }
    const results = new Uint8Array(keptBytes).fill(sentinel);
    const memory = new Uint8Array(program.memory.activations).fill(sentinel);
    if (keptBytes) await session.write('gradients', 0, results);
    await session.write('kvCache', 0, state);
    await session.write('activations', 0, memory);

    const inputs = new Uint8Array(program.inputBytes);
    const values = inputValues(sample, built);
    for (const { name, offset, dtype } of program.inputs) {
      inputs.set(new Uint8Array(typed(dtype, values[name]).buffer), offset);
    }
    const outputs = new Uint8Array(program.outputBytes).fill(sentinel);
    await session.run(id, inputs, encodeScalars(sample.scalars ?? {}), outputs);

    await session.read('kvCache', 0, state);
    await session.read('activations', 0, memory);
    if (keptBytes) await session.read('gradients', 0, results);
    checkGuards('kvCache', state, Object.values(built.state));
    checkGuards('gradients', results, Object.values(kept));
    checkGuards('activations', memory.subarray(-guardBytes), []);
    return new Map([
      ...program.outputs.map((field) => [field.name, numbersAt(outputs, field)] as const),
      ...Object.values(kept).map((slot) => [slot.name, numbersAt(results, slot)] as const),
      ...Object.values(built.state).map((slot) => [slot.name, numbersAt(state, slot)] as const),
    ]);
  } finally {
    await session.close();
  }
}

/**
 * Runs a sample with native kernels, on one thread and then on `threads`, and says what is wrong with the results; nothing
 * if all is well.
 */
export async function checkKernels(sample: Sample, way: Way, threads = 2): Promise<string[]> {
  const trial = prepare(sample, way);
  const expected = expectedOf(sample, trial);
  const one = await execute(sample, trial, 1);
  const many = threads > 1 ? await execute(sample, trial, threads) : one;
  const complaints: string[] = [];
  for (const [name, { data }] of expected) {
    const found = one.get(name)!.data;
    const isBackward = name.startsWith('gradient.');
    const { rtol, atol } = tolerances.f32[isBackward ? 'backward' : 'forward'];
    const isExact = data instanceof Int32Array;
    const message = difference(found, data, isExact ? { rtol: 0, atol: 0 } : { rtol, atol });
    if (message) complaints.push(`${name}: ${message}`);
    const bits = [found, many.get(name)!.data].map((values) => Buffer.from(Float64Array.from(values).buffer));
    if (!bits[0].equals(bits[1])) complaints.push(`${name}: 1 and ${threads} threads give different bits`);
  }
  return complaints;
}
