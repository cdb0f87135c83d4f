import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../errors.js';
import { asCheckpointError, type FileDigest, writeDurably } from './durable.js';
import { digestFile } from './sha256.js';

export const manifestName = 'manifest.json';

/** What a checkpoint folder holds: the training step it was taken after, and every file but the manifest itself. */
export interface Manifest {
  readonly step: number;
  readonly files: Readonly<Record<string, FileDigest>>;
}

/** Whether a name is that of a file inside its folder, and of no temporary one. */
export const isPlainName = (name: string): boolean => /^[A-Za-z0-9][\w.-]*$/.test(name);

const format = 'heddle checkpoint 1';

/** The text of a manifest. It ends with a digest of its own, so that a damaged manifest is found out too. */
function formatManifest({ step, files }: Manifest): string {
  const body = { format, step, files };
  const sha256 = createHash('sha256').update(JSON.stringify(body)).digest('hex');
  return `${JSON.stringify({ ...body, sha256 }, null, 2)}\n`;
}

/** Writes the manifest and waits until the disk holds it. */
export const writeManifest = (folder: string, manifest: Manifest): Promise<FileDigest> =>
  writeDurably(join(folder, manifestName), new TextEncoder().encode(formatManifest(manifest)));

/** Reads and checks the manifest of a folder, not the files it names. Throws CheckpointError. */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestName);
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > 2 ** 20)
      throw new CheckpointError(`${path} has ${size} bytes, more than a manifest can have`, { path });
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw asCheckpointError(error, `cannot read ${path}`);
  }
  const manifest = parseManifest(text);
  // Equality of the whole text leaves no byte of the file unchecked.
  if (!manifest || formatManifest(manifest) !== text) {
    throw new CheckpointError(`${path} is damaged: it does not match its own sha256`, { path });
  }
  return manifest;
}

function parseManifest(text: string): Manifest | undefined {
  let value: { step?: unknown; files?: unknown } | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const step = value?.step;
  const files = value?.files;
  if (!Number.isSafeInteger(step) || (step as number) < 0 || typeof files !== 'object' || files === null)
    return undefined;
  const entries: [string, FileDigest][] = [];
  for (const [name, digest] of Object.entries(files as Record<string, FileDigest | null>)) {
    if (!isPlainName(name) || !Number.isSafeInteger(digest?.bytes) || typeof digest?.sha256 !== 'string')
      return undefined;
    entries.push([name, { bytes: digest.bytes, sha256: digest.sha256 }]);
  }
  return { step: step as number, files: Object.fromEntries(entries) };
}

/**
 * Checks that a folder holds every file of its manifest, whole. `contents: false` compares sizes only, which costs
 * nothing. Throws a CheckpointError that names the file.
 */
export async function verifyManifest(folder: string, { contents }: { contents: boolean }): Promise<Manifest> {
  const manifest = await readManifest(folder);
  for (const [name, expected] of Object.entries(manifest.files)) {
    const path = join(folder, name);
    try {
      const bytes = (await stat(path)).size;
      if (bytes !== expected.bytes) {
        throw new CheckpointError(`${path} has ${bytes} bytes where ${expected.bytes} were written`, {
          path,
          bytes,
        });
      }
      if (contents && (await digestFile(path)).sha256 !== expected.sha256) {
        throw new CheckpointError(`${path} is damaged: its sha256 differs from the one in ${manifestName}`, {
          path,
        });
      }
    } catch (error) {
      throw asCheckpointError(error, `cannot read ${path}`);
    }
  }
  return manifest;
}
