import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '../errors.js';
import { asCheckpointError } from './durable.js';
import {
  type FileDType,
  fileDTypeBytes,
  headerLength,
  maxHeaderBytes,
  parseHeader,
  type TensorInfo,
  type TensorPlace,
} from './safetensorsHeader.js';
import { pieceBytes } from './safetensorsWriter.js';

export type { FileDType, TensorInfo } from './safetensorsHeader.js';
export { type TensorSource, writeSafetensors } from './safetensorsWriter.js';

/** Tensors on disk, of one file or of several shards, read when asked for. */
export class Safetensors {
  readonly names: readonly string[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly #places: ReadonlyMap<string, TensorPlace & { readonly shard: Shard }>;

  constructor(
    readonly path: string,
    readonly metadata: Readonly<Record<string, string>>,
    readonly shards: readonly Shard[],
    chosen: Iterable<[string, Shard]>,
  ) {
    this.#places = new Map(
      Array.from(chosen, ([name, shard]) => [name, { ...shard.tensors.get(name)!, shard }]),
    );
    this.tensors = new Map(
      Array.from(this.#places, ([name, { dtype, shape, bytes }]) => [name, { dtype, shape, bytes }]),
    );
    this.names = [...this.tensors.keys()];
  }

  /** Fills `target` with the bytes of a tensor from `offset` on. Throws CheckpointError. */
  async readRange(name: string, offset: number, target: Uint8Array): Promise<void> {
    const place = this.#places.get(name);
    if (!place) throw new CheckpointError(`${this.path} holds no tensor ${name}`, { name });
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + target.byteLength > place.bytes) {
      throw new CheckpointError(
        `${this.path}: tensor ${name} has ${place.bytes} bytes, not ${target.byteLength} from ${offset} on`,
        { name },
      );
    }
    try {
      await readFully(place.shard.handle, place.start + offset, target, place.shard.path);
    } catch (error) {
      throw asCheckpointError(error, `cannot read ${place.shard.path}`);
    }
  }

  /** Fills `target`, which must have exactly the tensor's size. Throws CheckpointError. */
  async readInto(name: string, target: Uint8Array): Promise<void> {
    const bytes = this.#info(name).bytes;
    if (target.byteLength !== bytes) {
      throw new CheckpointError(
        `${this.path}: tensor ${name} has ${bytes} bytes, the target ${target.byteLength}`,
        { name },
      );
    }
    await this.readRange(name, 0, target);
  }

  /** The bytes of a tensor. Throws CheckpointError. */
  async read(name: string): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.#info(name).bytes);
    await this.readRange(name, 0, bytes);
    return bytes;
  }

  /** A tensor of floating-point numbers as float32; F64 is rounded. Throws CheckpointError for other dtypes. */
  async readFloat32(name: string): Promise<Float32Array> {
    const { dtype, bytes } = this.#info(name);
    const values = new Float32Array(bytes / fileDTypeBytes(dtype));
    if (dtype === 'F32') {
      await this.readRange(name, 0, new Uint8Array(values.buffer));
      return values;
    }
    const convert = toFloat32[dtype];
    if (!convert) {
      throw new CheckpointError(
        `${this.path}: tensor ${name} holds ${dtype} where floating-point numbers were expected`,
      );
    }
    const piece = new Uint8Array(Math.min(bytes, pieceBytes));
    for (let offset = 0; offset < bytes; offset += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, bytes - offset));
      await this.readRange(name, offset, part);
      convert(part, values.subarray(offset / fileDTypeBytes(dtype)));
    }
    return values;
  }

  async close(): Promise<void> {
    await Promise.all(this.shards.map(({ handle }) => handle.close()));
  }

  #info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) throw new CheckpointError(`${this.path} holds no tensor ${name}`, { name });
    return info;
  }
}

/** One open file. */
interface Shard {
  readonly path: string;
  readonly handle: FileHandle;
  readonly tensors: ReadonlyMap<string, TensorPlace>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Converters from the bytes of a piece; the machines supported are little-endian as the format is. */
const toFloat32: Partial<Record<FileDType, (bytes: Uint8Array<ArrayBuffer>, values: Float32Array) => void>> =
  {
    F64: (bytes, values) => values.set(new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)),
    BF16: (bytes, values) => {
      const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
      new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2).forEach((half, i) => {
        bits[i] = half << 16;
      });
    },
    F16: (bytes, values) => {
      const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
      new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2).forEach((half, i) => {
        const exponent = (half >> 10) & 31;
        const mantissa = half & 1023;
        const sign = (half & 0x8000) << 16;
        if (exponent === 0) values[i] = (sign < 0 ? -1 : 1) * mantissa * 2 ** -24;
        else bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
      });
    },
  };

/**
 * Opens weights: a `.safetensors` file, a Hugging Face index of shards (`*.index.json`), or a folder that holds
 * `model.safetensors` or `model.safetensors.index.json`. Only headers are read. Throws CheckpointError.
 */
export async function openSafetensors(path: string): Promise<Safetensors> {
  try {
    if ((await stat(path)).isDirectory()) return await openSafetensors(await weightsOf(path));
    if (path.endsWith('.json')) return await openIndex(path);
    const shard = await openShard(path);
    return new Safetensors(
      path,
      shard.metadata,
      [shard],
      Array.from(shard.tensors.keys(), (name) => [name, shard]),
    );
  } catch (error) {
    throw asCheckpointError(error, `cannot read ${path}`);
  }
}

/** The file of a folder that holds or lists its weights. Throws CheckpointError. */
export async function weightsOf(folder: string): Promise<string> {
  for (const name of ['model.safetensors', 'model.safetensors.index.json']) {
    const path = join(folder, name);
    if (await stat(path).catch(() => undefined)) return path;
  }
  if (await stat(join(folder, 'adapter_model.safetensors')).catch(() => undefined)) {
    throw new CheckpointError(
      `${folder} holds adapters and no weights of its own; merge them with their base first (heddle merge)`,
      { folder },
    );
  }
  throw new CheckpointError(`${folder} holds neither model.safetensors nor model.safetensors.index.json`, {
    folder,
  });
}

async function openShard(path: string): Promise<Shard> {
  const status = await stat(path);
  if (!status.isFile()) throw new CheckpointError(`${path} is not a file`, { path });
  const { size } = status;
  const handle = await open(path, 'r');
  try {
    const prefix = new Uint8Array(Math.min(8, size));
    await readFully(handle, 0, prefix, path);
    const json = new Uint8Array(headerLength(prefix, size, path));
    await readFully(handle, 8, json, path);
    return { path, handle, ...parseHeader(json, size, path) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openIndex(path: string): Promise<Safetensors> {
  const weightMap = checkWeightMap(await readIndex(path), path);
  const shards = new Map<string, Shard>();
  try {
    for (const [name, file] of weightMap) {
      const shard = shards.get(file) ?? (await openShard(join(dirname(path), file)));
      shards.set(file, shard);
      if (!shard.tensors.has(name)) {
        throw new CheckpointError(`${path} places tensor ${name} in ${file}, which does not hold it`, {
          name,
          file,
        });
      }
    }
  } catch (error) {
    await Promise.all(Array.from(shards.values(), ({ handle }) => handle.close()));
    throw error;
  }
  const all = [...shards.values()];
  return new Safetensors(
    path,
    all[0]?.metadata ?? {},
    all,
    weightMap.map(([name, file]) => [name, shards.get(file)!]),
  );
}

async function readIndex(path: string): Promise<unknown> {
  const { size } = await stat(path);
  if (size > maxHeaderBytes)
    throw new CheckpointError(`${path} has ${size} bytes, more than an index may have`, { path });
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new CheckpointError(`${path} is not JSON (${error.message.slice(0, 80)})`, { path });
  }
}

/** Only plain names are opened: an index from elsewhere must not lead out of its folder. */
function checkWeightMap(index: unknown, path: string): [string, string][] {
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    throw new CheckpointError(`${path} has no weight_map that names a file for every tensor`, { path });
  }
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(file) || basename(file) !== file) {
      throw new CheckpointError(
        `${path} places tensor ${name} in ${JSON.stringify(file)} where the plain name of a .safetensors file was expected`,
        { name, file },
      );
    }
  }
  return Object.entries(map as Record<string, string>);
}

/** Fills `target` from `position` on; a file that ends early throws CheckpointError. */
async function readFully(
  handle: FileHandle,
  position: number,
  target: Uint8Array,
  path: string,
): Promise<void> {
  for (let done = 0; done < target.byteLength; ) {
    const length = Math.min(target.byteLength - done, 2 ** 30);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0)
      throw new CheckpointError(`${path} ends at byte ${position + done}; copy it again`, { path });
    done += bytesRead;
  }
}
