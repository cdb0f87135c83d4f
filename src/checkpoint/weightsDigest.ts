import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { readManifest } from './manifest.js';
import { openSafetensors, weightsOf } from './safetensors.js';
import { digestFile } from './sha256.js';

/**
 * Tells the weights of a folder from all others, by the SHA-256 of their file, in lower-case hexadecimal; of several shards, of their
 * digests in order. What a manifest says is believed: whoever opened the folder has checked it. Throws CheckpointError.
 */
export async function weightsDigest(folder: string): Promise<string> {
  const path = await weightsOf(folder);
  const manifest = await readManifest(folder).catch(() => undefined);
  const known = manifest?.files[basename(path)];
  if (known && path.endsWith('.safetensors')) return known.sha256;
  const file = await openSafetensors(path);
  await file.close();
  const digests: string[] = [];
  for (const shard of file.shards) digests.push((await digestFile(shard.path)).sha256);
  return digests.length === 1 ? digests[0] : createHash('sha256').update(digests.join('')).digest('hex');
}
