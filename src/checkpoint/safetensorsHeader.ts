// The header of a safetensors file: u64 length, JSON padded with spaces to a multiple of 8, then the tensors' bytes.
// Format: https://huggingface.co/docs/safetensors/index#format
import { CheckpointError } from '../errors.js';
import type { Shape } from '../shape/shape.js';

const elementBytes = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

/** Element types of files; those of programs (src/shape/dtype.ts) are fewer. */
export type FileDType = keyof typeof elementBytes;

/** A tensor of a file. `bytes` is the size of its elements, which are row-major and little-endian. */
export interface TensorInfo {
  readonly dtype: FileDType;
  readonly shape: Shape;
  readonly bytes: number;
}

/** Where a tensor lies, counted from the start of the file. */
export interface TensorPlace extends TensorInfo {
  readonly start: number;
}

export interface Header {
  readonly tensors: ReadonlyMap<string, TensorPlace>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Longest header accepted, in bytes: some 250,000 tensors, and little enough to parse that a hostile file cannot hang us. */
export const maxHeaderBytes = 32 * 2 ** 20;

export const isFileDType = (value: unknown): value is FileDType =>
  typeof value === 'string' && Object.hasOwn(elementBytes, value);

export const fileDTypeBytes = (dtype: FileDType): number => elementBytes[dtype];

/** Bytes of a tensor, or undefined where the shape is no shape or the product leaves the safe integers. */
export function checkedBytes(dtype: FileDType, shape: readonly unknown[]): number | undefined {
  let bytes: number = elementBytes[dtype];
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || (extent as number) < 0) return undefined;
    bytes *= extent as number;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

/** The first bytes of a file whose tensors follow one another in the order given. Throws CheckpointError. */
export function encodeHeader(
  tensors: Iterable<{ name: string; dtype: FileDType; shape: Shape }>,
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array; dataBytes: number } {
  const names = new Set<string>(['__metadata__']);
  const members = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  let dataBytes = 0;
  for (const { name, dtype, shape } of tensors) {
    const bytes = isFileDType(dtype) ? checkedBytes(dtype, shape) : undefined;
    if (bytes === undefined || !Number.isSafeInteger(dataBytes + bytes)) {
      throw new CheckpointError(
        `safetensors: tensor ${name} cannot be stored as ${dtype} of shape [${shape.join(', ')}]`,
      );
    }
    if (names.has(name)) throw new CheckpointError(`safetensors: the tensor name ${name} is taken`, { name });
    names.add(name);
    const place = { dtype, shape, data_offsets: [dataBytes, dataBytes + bytes] };
    members.push(`${JSON.stringify(name)}:${JSON.stringify(place)}`);
    dataBytes += bytes;
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > maxHeaderBytes)
    throw new CheckpointError(`safetensors: a header of ${length} bytes is too long`);
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return { header, dataBytes };
}

/** Length of the JSON text, from the first 8 bytes of a file. Throws CheckpointError. */
export function headerLength(prefix: Uint8Array, fileBytes: number, path: string): number {
  if (prefix.length < 8)
    throw corrupt(path, `it has ${fileBytes} bytes, fewer than the 8 that hold the header's length`);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes))
    throw corrupt(path, `its header claims ${length} bytes, more than ${maxHeaderBytes}`);
  if (Number(length) + 8 > fileBytes)
    throw corrupt(path, `its header claims ${length} bytes, the file has ${fileBytes}`);
  return Number(length);
}

/** Parses and checks the JSON text of a header. `fileBytes` is the size of the whole file. Throws CheckpointError. */
export function parseHeader(json: Uint8Array, fileBytes: number, path: string): Header {
  const root = parseJsonObject(json, path);
  const metadata = checkMetadata(root.get('__metadata__') ?? new Map(), path);
  root.delete('__metadata__');
  const start = 8 + json.length;
  const places = [...root].map(([name, value]) => checkTensor(name, value, start, path));
  places.sort(([, a], [, b]) => a.start - b.start || a.bytes - b.bytes);
  let end = start;
  for (const [name, place] of places) {
    if (place.start !== end) {
      throw corrupt(
        path,
        `tensor ${name} begins at byte ${place.start} where ${end} was expected (a hole or an overlap)`,
      );
    }
    end += place.bytes;
  }
  if (end !== fileBytes) throw corrupt(path, `its tensors end at byte ${end}, the file has ${fileBytes}`);
  return { tensors: new Map(places), metadata };
}

const corrupt = (path: string, reason: string): CheckpointError =>
  new CheckpointError(`${path} is no whole safetensors file: ${reason}; copy it again`, { path });

function checkTensor(name: string, value: unknown, dataStart: number, path: string): [string, TensorPlace] {
  const bad = (reason: string) => corrupt(path, `tensor ${name} ${reason}`);
  if (!(value instanceof Map)) throw bad('is not described by an object');
  const unknown = [...value.keys()].find((key) => !['dtype', 'shape', 'data_offsets'].includes(key));
  if (unknown !== undefined) throw bad(`has an unknown field ${JSON.stringify(unknown)}`);
  const dtype = value.get('dtype');
  const shape = value.get('shape');
  const offsets = value.get('data_offsets');
  if (!isFileDType(dtype)) {
    throw bad(
      `has dtype ${JSON.stringify(dtype)} where one of ${Object.keys(elementBytes).join(', ')} was expected`,
    );
  }
  const bytes = Array.isArray(shape) ? checkedBytes(dtype, shape) : undefined;
  if (bytes === undefined) throw bad('has a shape that is no list of sizes, or a size beyond all memory');
  if (
    !Array.isArray(offsets) ||
    offsets.length !== 2 ||
    !offsets.every((offset) => Number.isSafeInteger(offset))
  ) {
    throw bad('has data_offsets that are not two whole numbers');
  }
  const [begin, end] = offsets as number[];
  if (begin < 0 || end - begin !== bytes)
    throw bad(`needs ${bytes} bytes, its data_offsets are [${begin}, ${end}]`);
  return [name, { dtype, shape: shape as number[], bytes, start: dataStart + begin }];
}

function checkMetadata(value: unknown, path: string): Record<string, string> {
  if (!(value instanceof Map) || ![...value.values()].every((text) => typeof text === 'string')) {
    throw corrupt(path, 'its __metadata__ does not map names to strings');
  }
  return Object.fromEntries(value);
}

/**
 * JSON whose objects become Maps, at most two deep below the root, so that `__proto__` is a name as any other. JSON.parse
 * keeps the last of two equal names, by which two readers can see different tensors: duplicates are refused here.
 */
function parseJsonObject(json: Uint8Array, path: string): Map<string, unknown> {
  let root: unknown;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
    root = JSON.parse(text);
  } catch (error) {
    throw corrupt(path, `its header is not JSON (${(error as Error).message.slice(0, 80)})`);
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) throw corrupt(path, `the name ${duplicate} stands twice in its header`);
  if (!isObject(root)) throw corrupt(path, 'its header is not a JSON object');
  const entries = Object.entries(root).map(([key, value]) => [
    key,
    isObject(value) ? new Map(Object.entries(value)) : value,
  ]);
  return new Map(entries as [string, unknown][]);
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The first key that an object of a valid JSON text holds twice, as it is written there. */
function duplicateKey(text: string): string | undefined {
  const scopes: Set<string>[] = [];
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}]/g;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    if (match[0] === '{') scopes.push(new Set());
    else if (match[0] === '}') scopes.pop();
    else if (match[1] !== undefined) {
      const written = match[0].slice(0, -match[1].length);
      const key = written.includes('\\') ? (JSON.parse(written) as string) : written.slice(1, -1);
      const scope = scopes.at(-1)!;
      if (scope.has(key)) return written;
      scope.add(key);
    }
  }
  return undefined;
}
