import { type FileHandle, open } from 'node:fs/promises';
import { CheckpointError } from '../errors.js';
import type { Shape } from '../shape/shape.js';
import { asCheckpointError, type FileDigest } from './durable.js';
import { checkedBytes, encodeHeader, type FileDType, fileDTypeBytes } from './safetensorsHeader.js';
import { Sha256 } from './sha256.js';

/** Bytes held in memory at once while a file is written or converted. */
export const pieceBytes = 16 * 2 ** 20;

/** A tensor to write. A function fills `target` with the tensor's bytes from `offset` on, so that no copy of it is needed. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: Shape;
  readonly source: Uint8Array | ((offset: number, target: Uint8Array) => void | Promise<void>);
}

/**
 * Streams tensors to a file, wide elements first so that each lies aligned, and waits until the disk holds it.
 * Throws CheckpointError for names, shapes and sizes that do not fit and for failures of the disk.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<FileDigest> {
  const ordered = [...tensors];
  const { header, dataBytes } = encodeHeader(
    ordered.sort((a, b) => (fileDTypeBytes(b.dtype) ?? 0) - (fileDTypeBytes(a.dtype) ?? 0)),
    metadata,
  );
  try {
    const file = await PieceWriter.open(path, header.length + dataBytes);
    try {
      await file.write({ name: 'header', bytes: header.length, source: header });
      for (const { name, dtype, shape, source } of ordered) {
        await file.write({ name, bytes: checkedBytes(dtype, shape)!, source });
      }
      return await file.finish();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asCheckpointError(error, `cannot write ${path}`);
  }
}

/** Gathers bytes in pieces; one piece is hashed while the next is filled. */
class PieceWriter {
  readonly #hash = new Sha256();
  #piece: Uint8Array<ArrayBuffer>;
  #spare: Promise<Uint8Array<ArrayBuffer>>;
  #filled = 0;
  #written = 0;

  private constructor(
    readonly handle: FileHandle,
    totalBytes: number,
  ) {
    const size = Math.min(pieceBytes, totalBytes);
    this.#piece = new Uint8Array(size);
    this.#spare = Promise.resolve(new Uint8Array(size));
  }

  static async open(path: string, totalBytes: number): Promise<PieceWriter> {
    return new PieceWriter(await open(path, 'w'), totalBytes);
  }

  async write({
    name,
    bytes,
    source,
  }: {
    name: string;
    bytes: number;
    source: TensorSource['source'];
  }): Promise<void> {
    if (typeof source !== 'function' && source.byteLength !== bytes) {
      throw new CheckpointError(
        `safetensors: tensor ${name} has ${source.byteLength} bytes, its shape needs ${bytes}`,
      );
    }
    for (let offset = 0; offset < bytes; ) {
      const length = Math.min(bytes - offset, this.#piece.length - this.#filled);
      const target = this.#piece.subarray(this.#filled, this.#filled + length);
      if (typeof source === 'function') await source(offset, target);
      else target.set(source.subarray(offset, offset + length));
      offset += length;
      this.#filled += length;
      if (this.#filled === this.#piece.length) await this.#flush();
    }
  }

  async #flush(): Promise<void> {
    for (let done = 0; done < this.#filled; ) {
      const { bytesWritten } = await this.handle.write(this.#piece, done, this.#filled - done);
      done += bytesWritten;
    }
    this.#written += this.#filled;
    const hashed = this.#hash.update(this.#piece, this.#filled);
    this.#piece = await this.#spare;
    this.#spare = hashed;
    this.#filled = 0;
  }

  async finish(): Promise<FileDigest> {
    await this.#flush();
    await this.handle.sync();
    return { bytes: this.#written, sha256: await this.#hash.digest() };
  }

  async close(): Promise<void> {
    await Promise.all([this.handle.close(), this.#hash.close()]);
  }
}
