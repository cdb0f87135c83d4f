import { crc32 } from 'node:zlib';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { DataError } from '../errors.js';

/** Text compresses by a factor of two to ten; a larger entry that claims more than this is taken for a bomb. */
const largestRatio = 100;
const alwaysAllowedBytes = 64 * 2 ** 20;

export interface ZippedText {
  readonly entryName: string;
  /** Bytes when inflated. */
  readonly bytes: number;
  /** The bytes of the entry, inflated in pieces; length and CRC-32 are checked at the end. */
  pieces(): AsyncGenerator<Uint8Array>;
}

/** Opens a zip with one file in it. Anything else, and a file that inflates suspiciously, is a DataError. */
export async function openZippedText(path: string): Promise<ZippedText> {
  const { fileName, uncompressedSize } = await withOnlyEntry(path, (_zip, entry) => entry);
  return { entryName: fileName, bytes: uncompressedSize, pieces: () => inflate(path) };
}

async function withOnlyEntry<Result>(
  path: string,
  use: (zip: ZipFile, entry: Entry) => Result,
): Promise<Result> {
  const zip = await openZip(path);
  try {
    return use(zip, await onlyEntry(path, zip));
  } finally {
    zip.close();
  }
}

async function openZip(path: string): Promise<ZipFile> {
  try {
    return await openPromise(path, { autoClose: false });
  } catch (cause) {
    throw damaged(path, cause);
  }
}

const damaged = (path: string, cause: unknown): DataError =>
  new DataError(`${path} is no valid zip file: ${(cause as Error).message}`, { path }, { cause });

async function onlyEntry(path: string, zip: ZipFile): Promise<Entry> {
  const several = (): DataError =>
    new DataError(`${path} must hold exactly one text file; unzip it and give the folder instead`, { path });
  let only: Entry | undefined;
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName.endsWith('/')) continue;
      if (only) throw several();
      only = entry;
    }
  } catch (error) {
    throw error instanceof DataError ? error : damaged(path, error);
  }
  if (!only) throw several();
  if (only.isEncrypted()) throw new DataError(`${path} is encrypted; unzip it first`, { path });
  if (only.uncompressedSize > Math.max(alwaysAllowedBytes, largestRatio * only.compressedSize)) {
    throw new DataError(
      `${path} claims to inflate from ${only.compressedSize} to ${only.uncompressedSize} bytes, more than text can; if it is ` +
        'what you want, unzip it and give the file',
      { path },
    );
  }
  return only;
}

async function* inflate(path: string): AsyncGenerator<Uint8Array> {
  const zip = await openZip(path);
  try {
    const entry = await onlyEntry(path, zip);
    let sum = 0;
    for await (const piece of await zip.openReadStreamPromise(entry)) {
      sum = crc32(piece, sum);
      yield piece;
    }
    if (sum !== entry.crc32) throw new Error(`the checksum of ${entry.fileName} is wrong`);
  } catch (error) {
    throw error instanceof DataError ? error : damaged(path, error);
  } finally {
    zip.close();
  }
}
