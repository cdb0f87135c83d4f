import type { Slot } from '#src/graph/graph.js';
import { encodeScalars } from '#src/ops/index.js';
import { Session } from '#src/runtime/session.js';
import { dtypeBytes } from '#src/shape/dtype.js';
import { type Shape, sizeOf } from '#src/shape/shape.js';
import { testDevice } from '../device.js';
import { arrayOf, type NumberArray } from '../reference/array.js';
import { difference } from '../reference/compare.js';
import { guardBytes, type Sample } from './sample.js';
import {
  expectedOf,
  initialArenas,
  inputBytesOf,
  prepare,
  sentinel,
  type Trial,
  toleranceOf,
  type Way,
} from './trial.js';

function numbersAt(
  bytes: Uint8Array,
  place: { offset: number; shape: Shape; dtype: Slot['dtype'] },
): NumberArray {
  const { offset, shape, dtype } = place;
  const start = bytes.byteOffset + offset;
  const count = sizeOf(shape);
  if (dtype === 'i32') return arrayOf(shape, dtype, new Int32Array(bytes.buffer, start, count));
  if (dtype === 'f32') return arrayOf(shape, dtype, new Float32Array(bytes.buffer, start, count));
  const widened = Uint32Array.from(new Uint16Array(bytes.buffer, start, count), (bits) => bits << 16);
  return arrayOf(shape, dtype, new Float32Array(widened.buffer));
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
  const { built, program, kept, keptBytes } = trial;
  const session = Session.open({ device: testDevice, threads });
  try {
    const [id] = await session.load([program.bytes]);
    const { gradients: results, kvCache: state, activations: memory } = initialArenas(sample, trial);
    if (keptBytes) await session.write('gradients', 0, results);
    await session.write('kvCache', 0, state);
    await session.write('activations', 0, memory);

    const outputs = new Uint8Array(program.outputBytes).fill(sentinel);
    await session.run(id, inputBytesOf(sample, trial), encodeScalars(sample.scalars ?? {}), outputs);

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
 * Runs a sample with native kernels, on one thread and then on `threads` (only the CPU has more than one), and says what is
 * wrong with the results; nothing if all is well.
 */
export async function checkKernels(
  sample: Sample,
  way: Way,
  threads = testDevice === 'cpu' ? 2 : 1,
): Promise<string[]> {
  const trial = prepare(sample, way);
  const expected = expectedOf(sample, trial);
  const one = await execute(sample, trial, 1);
  const many = threads > 1 ? await execute(sample, trial, threads) : one;
  const complaints: string[] = [];
  for (const [name, { data }] of expected) {
    const found = one.get(name)!.data;
    const message = difference(found, data, toleranceOf(trial, name, data));
    if (message) complaints.push(`${name}: ${message}`);
    const bits = [found, many.get(name)!.data].map((values) => Buffer.from(Float64Array.from(values).buffer));
    if (!bits[0].equals(bits[1])) complaints.push(`${name}: 1 and ${threads} threads give different bits`);
  }
  return complaints;
}
