import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError, HeddleError } from '../errors.js';

/** What identifies the contents of a file. `sha256` is lower-case hexadecimal. */
export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

/** Writes a file and waits until the disk holds it. */
export async function writeDurably(path: string, bytes: Uint8Array): Promise<FileDigest> {
  const file = await open(path, 'w');
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  return { bytes: bytes.byteLength, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Waits until the disk holds a file, or the entries of a folder: without the latter a rename may be lost. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes a folder and the missing ones above it, and waits until the disk holds their entries. (Node's own recursive mkdir
 * does not end where a file system answers ENOENT below a folder that exists, as /proc does.)
 */
export async function makeFolder(path: string): Promise<void> {
  const code = await tryMkdir(path);
  if (code === 'EEXIST') return;
  if (code === 'ENOENT' && dirname(path) !== path) {
    await makeFolder(dirname(path));
    await mkdir(path);
  }
  await sync(dirname(path));
}

const tryMkdir = (path: string): Promise<string | undefined> =>
  mkdir(path).then(
    () => undefined,
    (error) => {
      if (error.code === 'EEXIST' || error.code === 'ENOENT') return error.code;
      throw error;
    },
  );

/** The name under which a folder survives while another takes its place. */
export const replacedName = (name: string): string => `.replaced-${name}`;

/**
 * Puts the complete folder `from` in the place of `target`. A folder that already stands there is moved aside first,
 * since rename(2) replaces only empty folders; readers that meet the gap find it under `replacedName`.
 */
export async function putFolder(from: string, target: string): Promise<void> {
  const aside = join(dirname(target), replacedName(basename(target)));
  await rm(aside, { recursive: true, force: true });
  await rename(target, aside).catch((error) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await rename(from, target);
  await sync(dirname(target));
  await rm(aside, { recursive: true, force: true });
}

const reasons: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space',
  EDQUOT: 'the disk quota is used up; free some space',
  EFBIG: 'the file would be larger than the system allows; raise the limit',
  EROFS: 'the file system is read-only; choose another folder',
  EACCES: 'permission is denied; choose another folder or change its mode',
  EPERM: 'permission is denied; choose another folder or change its mode',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is not a folder',
  EISDIR: 'a folder stands where a file was expected',
  EIO: 'the disk reports an error',
  EMFILE: 'too many files are open',
};

/** Turns a failure of the file system into a CheckpointError; errors of ours and mistakes in code pass unchanged. */
export function asCheckpointError(error: unknown, what: string): unknown {
  if (error instanceof HeddleError || !(error instanceof Error)) return error;
  const { code, path } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return error;
  const reason = reasons[code] ?? error.message;
  return new CheckpointError(`${what}: ${reason} (${code})`, { code, path }, { cause: error });
}
