import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { FileDigest } from './durable.js';

type Reply = Uint8Array<ArrayBuffer> | string;

/** SHA-256 off the main thread, so that hashing a large checkpoint does not hold up the event loop. */
export class Sha256 {
  readonly #worker = new Worker(new URL('./sha256Worker.js', import.meta.url), { execArgv: [] });
  readonly #waiting: { resolve(reply: Reply): void; reject(error: unknown): void }[] = [];

  constructor() {
    this.#worker.on('message', (reply: Reply) => this.#waiting.shift()?.resolve(reply));
    this.#worker.on('error', (error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
  }

  /** Hashes the first `length` bytes. The memory moves to the worker: use the array that comes back instead. */
  update(piece: Uint8Array<ArrayBuffer>, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#ask({ piece, length }, [piece.buffer]) as Promise<Uint8Array<ArrayBuffer>>;
  }

  digest(): Promise<string> {
    return this.#ask(null, []) as Promise<string>;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(message: unknown, transfer: ArrayBuffer[]): Promise<Reply> {
    const reply = new Promise<Reply>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    reply.catch(() => {}); // awaited by the caller; a writer that failed first no longer does
    this.#worker.postMessage(message, transfer);
    return reply;
  }
}

/** Reads a file from end to end. */
export async function digestFile(path: string): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(piece);
    bytes += piece.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}
