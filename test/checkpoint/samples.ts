// Small checkpoints whose contents follow from their step, so that a test can tell a whole one from a mixed one.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CheckpointFile, openCheckpoint, readCheckpointJson } from '#src/checkpoint/checkpoint.js';
import { openSafetensors, writeSafetensors } from '#src/checkpoint/safetensors.js';

/** A folder that is removed when the test ends. */
export async function temporaryFolder(t: { teardown(fn: () => Promise<void>): void }): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'heddle-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export const weightsAt = (step: number, count = 300): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => step + i / 7);

export function filesAt(step: number, count = 300): CheckpointFile[] {
  const weights = (offset: number, target: Uint8Array) =>
    target.set(new Uint8Array(weightsAt(step, count).buffer).subarray(offset, offset + target.length));
  return [
    { name: 'config.json', json: { modelType: 'gpt2', step } },
    {
      name: 'model.safetensors',
      write: (path) => writeSafetensors(path, [{ name: 'w', dtype: 'F32', shape: [count], source: weights }]),
    },
    { name: 'position.json', json: { step } },
  ];
}

/** The step whose checkpoint loads from a folder, after comparing every value with what was saved. */
export async function loadedStep(folder: string, count = 300): Promise<number | undefined> {
  const checkpoint = await openCheckpoint(folder, { prefer: 'latest' });
  const { step } = (await readCheckpointJson(checkpoint, 'position.json')) as { step: number };
  const weights = await openSafetensors(checkpoint.folder);
  const values = await weights.readFloat32('w');
  await weights.close();
  const expected = weightsAt(step, count);
  return step === checkpoint.step && values.every((value, i) => value === expected[i]) ? step : undefined;
}
