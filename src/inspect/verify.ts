import type { InstructionResult, Program } from '../compile/index.js';
import type { ArenaName } from '../graph/graph.js';
import type { Module } from '../nn/index.js';
import type { ObjectiveData } from '../objectives/objective.js';
import { encodeScalars } from '../ops/scalars.js';
import { type Device, Session } from '../runtime/session.js';
import { type DType, dtypeBytes, type Precision } from '../shape/dtype.js';
import { sizeOf } from '../shape/shape.js';
import { TakenStep, type TakenStepOptions } from './takenStep.js';

export interface VerifyOptions<Model extends Module, Data extends ObjectiveData>
  extends TakenStepOptions<Model, Data> {
  readonly threads?: number;
  /** The one that is taken for right, and the one that is compared with it. */
  readonly devices: readonly [Device, Device];
}

/** The first result that differs beyond its tolerance. */
export interface Difference {
  /** Place of the instruction in the program, from 0, and its text. */
  readonly instruction: number;
  readonly text: string;
  readonly op: string;
  /** Which output of it, which element of that in row-major order, and what it is on both devices. */
  readonly output: number;
  readonly element: number;
  readonly values: readonly [number, number];
  readonly error: number;
  readonly allowed: number;
}

export interface Verification {
  readonly instructions: number;
  /** By op: how often it runs, and the largest |a - b| / max|a| of its results. */
  readonly ops: Readonly<Record<string, { count: number; error: number }>>;
  readonly difference?: Difference;
}

/** Bounds of |a - b| <= absolute + relative max|a|, by precision; integers must be equal. Errors grow with the depth. */
export const tolerances = {
  float32: { relative: 1e-4, absolute: 1e-6 },
  bf16: { relative: 1.6e-2, absolute: 1e-3 },
} as const;

// Adam's first update is the sign of a gradient, whatever its size: where that is rounding alone, parameters may differ by
// twice the rate.
const learningRate = 1e-5;
const watched: readonly ArenaName[] = [
  'activations',
  'parameters',
  'parametersBf16',
  'gradients',
  'optimizerState',
];
/** What an arena holds after a run. */
export type Snapshot = ReadonlyMap<ArenaName, Uint8Array>;

/**
 * Runs one training step on two devices, every intermediate value kept, and compares all results in the order of the instructions: the
 * first that differs beyond its tolerance is the op to look at.
 */
export async function verify<Model extends Module, Data extends ObjectiveData>(
  options: VerifyOptions<Model, Data>,
): Promise<Verification> {
  const { seed, threads, devices, precision } = options;
  const taken = new TakenStep(options, 'step', { keepIntermediates: true });
  const stepOn = async (device: Device): Promise<Snapshot> => {
    const session = Session.open({ device, threads });
    try {
      const loaded = await taken.load(session);
      await loaded.run(encodeScalars({ learningRate, seed, step: 0, microStep: 0 }));
      return await snapshotOf(session, taken.program);
    } finally {
      await session.close();
    }
  };
  const [expected, found] = [await stepOn(devices[0]), await stepOn(devices[1])];
  return compareResults(taken.program.results(), expected, found, precision);
}

async function snapshotOf(session: Session, program: Program): Promise<Snapshot> {
  const snapshot = new Map<ArenaName, Uint8Array>();
  for (const arena of watched) {
    snapshot.set(arena, await session.read(arena, 0, new Uint8Array(program.memory[arena])));
  }
  return snapshot;
}

/** Compares what two runs of one program have left, instruction by instruction, up to the first difference. */
export function compareResults(
  results: readonly InstructionResult[],
  expected: Snapshot,
  found: Snapshot,
  precision: Precision = 'float32',
): Verification {
  const { absolute, relative } = tolerances[precision];
  const ops: Record<string, { count: number; error: number }> = {};
  let difference: Difference | undefined;
  results.forEach(({ op, text, outputs }, instruction) => {
    if (difference) return;
    ops[op] ??= { count: 0, error: 0 };
    ops[op].count++;
    outputs.forEach((output, index) => {
      if (difference || !expected.has(output.arena)) return;
      const [a, b] = [expected, found].map((snapshot) => numbersOf(snapshot.get(output.arena)!, output));
      const allowed = output.dtype === 'i32' ? 0 : absolute + relative * greatest(a);
      const { element, error } = worst(a, b);
      ops[op].error = Math.max(ops[op].error, error / (greatest(a) || 1));
      if (error <= allowed) return;
      const values = [a[element], b[element]] as const;
      difference = { instruction, text, op, output: index, element, values, error, allowed };
    });
  });
  return { instructions: results.length, ops, difference };
}

/** The elements of a result in row-major order. */
function numbersOf(bytes: Uint8Array, output: InstructionResult['outputs'][number]): Float64Array {
  const { offset, shape, strides, dtype } = output;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const numbers = new Float64Array(sizeOf(shape));
  for (let index = 0; index < numbers.length; index++) {
    let rest = index;
    let place = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += (rest % shape[axis]) * strides[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    numbers[index] = numberAt(view, offset + dtypeBytes(dtype) * place, dtype);
  }
  return numbers;
}

function numberAt(view: DataView, at: number, dtype: DType): number {
  if (dtype === 'i32') return view.getInt32(at, true);
  if (dtype === 'f32') return view.getFloat32(at, true);
  const widened = new DataView(new ArrayBuffer(4));
  widened.setUint32(0, view.getUint16(at, true) << 16);
  return widened.getFloat32(0);
}

const greatest = (values: Float64Array) =>
  values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);

/** Where two arrays differ most; a NaN or an infinity that only one of them has differs infinitely. */
function worst(a: Float64Array, b: Float64Array): { element: number; error: number } {
  let [element, error] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i])) continue;
    const distance = Math.abs(a[i] - b[i]);
    const own = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
    if (own > error) [element, error] = [i, own];
  }
  return { element, error };
}
