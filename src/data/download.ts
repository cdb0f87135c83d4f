import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DataError } from '../errors.js';
import type { WorkOptions } from './progress.js';

/** A file that never changes, and how to know it. */
export interface RemoteFile {
  readonly url: string;
  readonly bytes: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

/**
 * Makes sure that `path` is the remote file: checks size and sha256 where it exists, else downloads it to `path.part` (going
 * on where an earlier attempt ended), checks it and gives it its name.
 *
 * @throws DataError that names the URL, the path and what to do when the file is wrong or the server cannot be reached
 */
export async function ensureFile(remote: RemoteFile, path: string, options: WorkOptions = {}): Promise<void> {
  if ((await sizeOfFile(path)) === undefined) {
    await mkdir(dirname(path), { recursive: true });
    await fetchPart(remote, path, options);
    await check(remote, `${path}.part`);
    await rename(`${path}.part`, path);
  } else {
    await check(remote, path);
  }
}

async function sizeOfFile(path: string): Promise<number | undefined> {
  const status = await stat(path).catch(() => undefined);
  return status?.size;
}

async function check(remote: RemoteFile, path: string): Promise<void> {
  const size = await sizeOfFile(path);
  const wrong =
    size !== remote.bytes
      ? `has ${size} bytes instead of ${remote.bytes}`
      : (await sha256OfFile(path)) !== remote.sha256
        ? 'has another sha256 than it should'
        : undefined;
  if (!wrong) return;
  const partial = path.endsWith('.part');
  if (partial) await rm(path, { force: true });
  throw new DataError(
    `${path} ${wrong}; ${partial ? 'it was removed: try again' : 'delete it to download it again'} from ${remote.url}`,
    { path, url: remote.url },
  );
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece);
  return hash.digest('hex');
}

async function fetchPart(remote: RemoteFile, path: string, options: WorkOptions): Promise<void> {
  const part = `${path}.part`;
  const byHand = `; to go on without a network, put the file of ${remote.bytes} bytes from ${remote.url} at ${path}`;
  const fail = (why: string, cause?: unknown): DataError =>
    new DataError(`cannot download ${remote.url}: ${why}${byHand}`, { url: remote.url, path }, { cause });

  let have = (await sizeOfFile(part)) ?? 0;
  if (have > remote.bytes) have = 0;
  if (have === remote.bytes) return;
  try {
    const response = await fetch(remote.url, {
      headers: { 'accept-encoding': 'identity', ...(have > 0 && { range: `bytes=${have}-` }) },
      signal: options.signal,
    });
    if (response.status === 416) {
      await rm(part, { force: true });
      throw fail('the server refused to go on with the part it had; the part was removed, try again');
    }
    if (!response.ok || !response.body)
      throw fail(`the server answered ${response.status} ${response.statusText}`);
    if (response.status !== 206) have = 0;
    checkOffer(response, remote, have, fail);
    await append(response.body, part, have, remote, options);
  } catch (error) {
    if (options.signal?.aborted) throw options.signal.reason;
    if (error instanceof DataError) throw error;
    throw fail(reasonOf(error), error);
  }
  const size = await sizeOfFile(part);
  if (size !== remote.bytes)
    throw fail(`it ended after ${size} of ${remote.bytes} bytes; run again to go on from there`);
}

/** Refuses another file before a byte of it is written. */
function checkOffer(
  response: Response,
  remote: RemoteFile,
  have: number,
  fail: (why: string) => DataError,
): void {
  const length = response.headers.get('content-length');
  if (length !== null && Number(length) + have !== remote.bytes) {
    throw fail(`the server offers ${Number(length) + have} bytes instead of ${remote.bytes}`);
  }
  const range = response.headers.get('content-range');
  if (response.status === 206 && range !== `bytes ${have}-${remote.bytes - 1}/${remote.bytes}`) {
    throw fail(
      `the server offers the range '${range}' instead of the bytes from ${have} to ${remote.bytes - 1}`,
    );
  }
}

async function append(
  body: AsyncIterable<Uint8Array>,
  part: string,
  have: number,
  remote: RemoteFile,
  { onProgress }: WorkOptions,
): Promise<void> {
  let done = have;
  const file = await open(part, have > 0 ? 'a' : 'w');
  try {
    for await (const piece of body) {
      if (done + piece.length > remote.bytes) throw new Error(`more than ${remote.bytes} bytes came`);
      await file.writeFile(piece);
      done += piece.length;
      onProgress?.({ stage: 'download', done, total: remote.bytes });
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** fetch hides why it failed in a chain of causes. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  const inner = cause instanceof AggregateError ? cause.errors[0] : cause;
  return inner instanceof Error ? `${message} (${inner.message})` : message;
}
