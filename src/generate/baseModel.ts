import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { weightsDigest } from '../checkpoint/weightsDigest.js';
import { CheckpointError } from '../errors.js';
import type { BaseModel } from '../models/savedAdapters.js';

/**
 * The checkpoint that adapters were trained for, where it was then or in the folder `given`. Throws CheckpointError where it is gone, or
 * another one stands there.
 */
export async function openBase({ path, sha256 }: BaseModel, given?: string): Promise<Checkpoint> {
  if (!(given ?? path))
    throw new CheckpointError('these adapters name no base; say where it is as base (--base)');
  let checkpoint: Checkpoint;
  try {
    checkpoint = await openCheckpoint(given ?? path);
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new CheckpointError(
      `the base of these adapters cannot be opened: ${error.message}; say where it is as base (--base)`,
      { base: given ?? path },
      { cause: error },
    );
  }
  const found = await weightsDigest(checkpoint.folder);
  if (sha256 !== undefined && found !== sha256) {
    throw new CheckpointError(
      `${checkpoint.folder} is not the base of these adapters: its weights have the sha256 ${found.slice(0, 12)}…, but they were trained for ${sha256.slice(0, 12)}…; say where that is as base (--base)`,
      { base: checkpoint.folder, found, expected: sha256 },
    );
  }
  return checkpoint;
}
