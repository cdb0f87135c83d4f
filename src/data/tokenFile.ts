import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { DataError } from '../errors.js';
import { idBytes, viewIds } from '../text/ids.js';
import { checkRead, copyIds, type TokenSource } from './tokenSource.js';

/**
 * A token file: a header of 64 bytes, the ids, zeros up to a multiple of 8, and the position of the first token of every
 * document as u64. All numbers are little-endian, as every supported machine is.
 *
 *     0  magic 'HDLTOKEN'     16  u64 number of tokens       32  sha256 of the tokenizer's canonical JSON
 *     8  u32 version          24  u32 vocabulary size
 *     12 u32 bytes an id      28  u32 number of documents
 */
export const headerBytes = 64;
const magic = 'HDLTOKEN';
const version = 1;

export interface TokenFileHeader {
  readonly bytesPerId: 1 | 2 | 4;
  readonly count: number;
  readonly vocabSize: number;
  readonly documentCount: number;
  readonly tokenizerSha256: Buffer;
}

export function encodeHeader(header: TokenFileHeader): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  bytes.write(magic, 0, 'latin1');
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(header.bytesPerId, 12);
  bytes.writeBigUInt64LE(BigInt(header.count), 16);
  bytes.writeUInt32LE(header.vocabSize, 24);
  bytes.writeUInt32LE(header.documentCount, 28);
  header.tokenizerSha256.copy(bytes, 32, 0, 32);
  return bytes;
}

/** Where the document table begins. */
export const tableOffset = (count: number, bytesPerId: number): number =>
  Math.ceil((headerBytes + count * bytesPerId) / 8) * 8;

function decodeHeader(bytes: Buffer, fileBytes: number, refuse: (why: string) => DataError): TokenFileHeader {
  if (bytes.length < headerBytes) throw refuse(`it has ${bytes.length} bytes, a header has ${headerBytes}`);
  if (bytes.toString('latin1', 0, 8) !== magic) throw refuse('it does not begin as one');
  const found = bytes.readUInt32LE(8);
  if (found !== version) throw refuse(`its version is ${found}, this Heddle reads version ${version}`);
  const bytesPerId = bytes.readUInt32LE(12);
  const count = bytes.readBigUInt64LE(16);
  const vocabSize = bytes.readUInt32LE(24);
  const documentCount = bytes.readUInt32LE(28);
  if (vocabSize === 0 || bytesPerId !== idBytes(vocabSize)) {
    throw refuse(`${bytesPerId} bytes an id do not go with a vocabulary of ${vocabSize}`);
  }
  if (count > BigInt(fileBytes)) throw refuse(`it claims ${count} tokens in ${fileBytes} bytes`);
  const expected = tableOffset(Number(count), bytesPerId) + 8 * documentCount;
  if (expected !== fileBytes) throw refuse(`its header asks for ${expected} bytes, but it has ${fileBytes}`);
  return {
    bytesPerId: bytesPerId as 1 | 2 | 4,
    count: Number(count),
    vocabSize,
    documentCount,
    tokenizerSha256: Buffer.from(bytes.subarray(32, 64)),
  };
}

/** Tokens on disk, read by position, so that a corpus may be larger than memory. Close it after use. */
export class TokenFile implements TokenSource {
  readonly path: string;
  readonly count: number;
  readonly vocabSize: number;
  /** What `tokenizerSha256` gave for the tokenizer that made the file. */
  readonly tokenizerSha256: Buffer;
  readonly #header: TokenFileHeader;
  readonly #descriptor: number;
  #closed = false;
  #bytes = new ArrayBuffer(0);

  private constructor(path: string, descriptor: number, header: TokenFileHeader) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#header = header;
    this.count = header.count;
    this.vocabSize = header.vocabSize;
    this.tokenizerSha256 = header.tokenizerSha256;
  }

  /** Opens a token file; one that is missing, no token file, or not as long as its header says is a DataError. */
  static open(path: string): TokenFile {
    const refuse = (why: string): DataError =>
      new DataError(`${path} is no valid token file: ${why}`, { path });
    let descriptor: number;
    try {
      descriptor = openSync(path, 'r');
    } catch (cause) {
      throw new DataError(
        `cannot open the token file ${path}: ${(cause as Error).message}`,
        { path },
        { cause },
      );
    }
    try {
      const status = fstatSync(descriptor);
      if (!status.isFile()) throw refuse('it is no file');
      const header = Buffer.alloc(headerBytes);
      const got = readSync(descriptor, header, 0, headerBytes, 0);
      return new TokenFile(path, descriptor, decodeHeader(header.subarray(0, got), status.size, refuse));
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  documents(): Float64Array {
    const { documentCount, count, bytesPerId } = this.#header;
    const table = Buffer.from(
      this.#readBytes(tableOffset(count, bytesPerId), 8 * documentCount),
      0,
      8 * documentCount,
    );
    const starts = new Float64Array(documentCount);
    for (let i = 0; i < documentCount; i++) {
      const start = Number(table.readBigUInt64LE(8 * i));
      if (start > count || (i === 0 ? start !== 0 : start < starts[i - 1])) {
        throw new DataError(`${this.path}: document ${i} begins at token ${start}, which is out of order`, {
          start,
        });
      }
      starts[i] = start;
    }
    return starts;
  }

  read(position: number, target: Int32Array, targetOffset: number, length: number): void {
    checkRead(this, position, target, targetOffset, length);
    const { bytesPerId } = this.#header;
    const bytes = this.#readBytes(headerBytes + position * bytesPerId, length * bytesPerId);
    copyIds(viewIds(bytesPerId, bytes, 0, length), target, targetOffset, this.vocabSize, this.path);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#descriptor);
  }

  /** The bytes are in a buffer that the next call overwrites. */
  #readBytes(position: number, length: number): ArrayBuffer {
    if (this.#closed) throw new DataError(`the token file ${this.path} is closed`);
    if (this.#bytes.byteLength < length) this.#bytes = new ArrayBuffer(length);
    const view = new Uint8Array(this.#bytes, 0, length);
    for (let done = 0; done < length; ) {
      const got = readSync(this.#descriptor, view, done, length - done, position + done);
      if (got === 0)
        throw new DataError(`${this.path} ended at byte ${position + done}; it was cut after it was opened`);
      done += got;
    }
    return this.#bytes;
  }
}
