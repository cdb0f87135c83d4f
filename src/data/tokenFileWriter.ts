import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DataError } from '../errors.js';
import { idBytes, type TokenIds } from '../text/ids.js';
import { encodeHeader, headerBytes, tableOffset } from './tokenFile.js';

/**
 * Writes a token file piece by piece under a temporary name. It gets its name, whole and synced to disk, in `finish`;
 * nobody ever sees a part of it.
 */
export class TokenFileWriter {
  readonly path: string;
  readonly vocabSize: number;
  readonly #temporary: string;
  readonly #tokenizerSha256: Buffer;
  readonly #file: FileHandle;
  readonly #documents: number[] = [];
  #count = 0;

  private constructor(
    path: string,
    temporary: string,
    file: FileHandle,
    vocabSize: number,
    tokenizerSha256: Buffer,
  ) {
    this.path = path;
    this.vocabSize = vocabSize;
    this.#temporary = temporary;
    this.#file = file;
    this.#tokenizerSha256 = tokenizerSha256;
  }

  /** Makes the folder too, where there is none. `tokenizerSha256` has 32 bytes. */
  static async create(path: string, vocabSize: number, tokenizerSha256: Buffer): Promise<TokenFileWriter> {
    const temporary = `${path}.${randomUUID()}.part`;
    await mkdir(dirname(path), { recursive: true });
    return new TokenFileWriter(path, temporary, await open(temporary, 'wx'), vocabSize, tokenizerSha256);
  }

  /** Number of tokens so far. */
  get count(): number {
    return this.#count;
  }

  /** What is written next belongs to a new document. */
  beginDocument(): void {
    this.#documents.push(this.#count);
  }

  async write(ids: TokenIds): Promise<void> {
    const bytesPerId = idBytes(this.vocabSize);
    if (ids.BYTES_PER_ELEMENT !== bytesPerId) {
      throw new DataError(
        `ids of ${ids.BYTES_PER_ELEMENT} bytes do not go with a vocabulary of ${this.vocabSize}`,
      );
    }
    if (this.#documents.length === 0) this.beginDocument();
    const position = headerBytes + this.#count * bytesPerId;
    await this.#writeAt(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength), position);
    this.#count += ids.length;
  }

  async finish(): Promise<void> {
    const bytesPerId = idBytes(this.vocabSize);
    const table = Buffer.alloc(8 * this.#documents.length);
    this.#documents.forEach((start, i) => {
      table.writeBigUInt64LE(BigInt(start), 8 * i);
    });
    const header = encodeHeader({
      bytesPerId,
      count: this.#count,
      vocabSize: this.vocabSize,
      documentCount: this.#documents.length,
      tokenizerSha256: this.#tokenizerSha256,
    });
    const end = tableOffset(this.#count, bytesPerId) + table.length;
    await this.#file.truncate(end); // the zeros between ids and table
    await this.#writeAt(table, end - table.length);
    await this.#writeAt(header, 0);
    await this.#file.sync();
    await this.#file.close();
    await rename(this.#temporary, this.path);
    await syncFolder(dirname(this.path));
  }

  /** Drops what was written. */
  async abort(): Promise<void> {
    await this.#file.close().catch(() => {}); // it may be closed already
    await rm(this.#temporary, { force: true });
  }

  async #writeAt(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
    }
  }
}

/** Makes a rename last through a loss of power. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
