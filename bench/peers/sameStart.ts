// What makes a comparison one: all sides begin with the same weights and the same batch, and find the same loss there.
import { writeSafetensors } from '#src/checkpoint/safetensorsWriter.js';
import { initialValues } from '#src/models/initialize.js';
import type { Precision } from '#src/shape/dtype.js';
import type { Stepper, StepperOptions } from '#src/train/stepper.js';

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array) =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

/** Writes the first weights of a stepper that was made of `options` and its first batch to a safetensors file. */
export async function writeStart(
  path: string,
  stepper: Stepper,
  { model, seed }: StepperOptions,
): Promise<void> {
  const weights = Array.from(initialValues(model, stepper.table, seed), ({ entry, values }) => ({
    name: entry.name,
    dtype: 'F32' as const,
    shape: entry.slot.shape,
    source: bytesOf(values.slice()),
  }));
  const batch = Object.entries(stepper.batches.batchAt(0, 0).arrays).map(([name, values]) => ({
    name,
    dtype: 'I32' as const,
    shape: [values.length],
    source: bytesOf(values as Int32Array),
  }));
  await writeSafetensors(path, [...weights, ...batch]);
}

/** Largest relative difference of two losses that are called the same. */
export const lossTolerance: Readonly<Record<Precision, number>> = { float32: 1e-3, bf16: 1e-2 };

/** Throws where a peer has another loss: it is another model, and its time would say nothing. */
export function checkSameLoss(peer: string, precision: Precision, ours: number, theirs: number): void {
  const difference = Math.abs(theirs - ours) / Math.abs(ours);
  if (difference <= lossTolerance[precision]) return;
  throw new Error(
    `${peer} has a loss of ${theirs} where ours is ${ours}, on the same weights and batch: expected a relative ` +
      `difference of at most ${lossTolerance[precision]}; the two models differ`,
  );
}
