import { type ArenaName, arenas as arenaNames } from '#src/graph/graph.js';
import { type Attributes, type AttributeValue, kernelOps, type Op } from '#src/graph/op.js';
import { encodeScalars, type ScalarName, scalars as scalarNames } from '#src/ops/index.js';
import { type DType, dtypeBytes, dtypes } from '#src/shape/dtype.js';
import { maxRank, type Shape } from '#src/shape/shape.js';
import { floats, integers, type NumberArray, rounded } from './array.js';
import { definitions } from './interpreter.js';
import { placesOf } from './view.js';

export interface Buffer {
  readonly arena: ArenaName;
  readonly dtype: DType;
  readonly offset: number;
  readonly shape: Shape;
  readonly strides: readonly number[];
}

export interface Instruction {
  readonly op: Op;
  readonly inputs: readonly (Buffer | undefined)[];
  readonly outputs: readonly (Buffer | undefined)[];
  readonly attributes: Attributes;
}

/** Reads the little-endian fields of a program (native/program.h). */
class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  private skip(bytes: number): number {
    this.at += bytes;
    return this.at - bytes;
  }
  u8 = () => this.view.getUint8(this.skip(1));
  u16 = () => this.view.getUint16(this.skip(2), true);
  u32 = () => this.view.getUint32(this.skip(4), true);
  i32 = () => this.view.getInt32(this.skip(4), true);
  f32 = () => this.view.getFloat32(this.skip(4), true);
  u64 = () => Number(this.view.getBigUint64(this.skip(8), true));
  i64 = () => Number(this.view.getBigInt64(this.skip(8), true));
  pad = () => this.skip((8 - (this.at % 8)) % 8);
  get done(): boolean {
    return this.at === this.view.byteLength;
  }
}

/**
 * Executes the bytes of a program in float64, one number for every 2 bytes of an arena, of which an element uses the first: what native code does, without the
 * kernels. Memory of a run starts as NaN, so that a value read before it was written shows.
 */
export class Machine {
  readonly arenas: Readonly<Record<ArenaName, Float64Array>>;
  readonly instructions: readonly Instruction[];
  private readonly outputStart: number;

  constructor(bytes: Uint8Array) {
    const reader = new Reader(bytes);
    for (let field = 0; field < 4; field++) reader.u32(); // magic, version, op hash
    const [bufferCount, instructionCount, rangeCount] = [reader.u32(), reader.u32(), reader.u32()];
    reader.u32();
    const sizes = arenaNames.map((arena) => {
      const bytes = reader.u64();
      reader.u64(); // layout hash
      return [arena, new Float64Array(Math.ceil(bytes / 2)).fill(Number.NaN)] as const;
    });
    this.arenas = Object.fromEntries(sizes) as Record<ArenaName, Float64Array>;
    reader.u64();
    this.outputStart = reader.u64();
    reader.u64();
    const buffers = Array.from({ length: bufferCount }, () => readBuffer(reader));
    for (let field = 0; field < 3 * rangeCount; field++) reader.u64();
    this.instructions = Array.from({ length: instructionCount }, () => readInstruction(reader, buffers));
    if (!reader.done) throw new Error('bytes are left behind the last instruction');
  }

  /** Runs all instructions; inputs and outputs are numbers at byte offsets of the io arena. */
  run(scalars: Partial<Record<ScalarName, number>> = {}): void {
    const values = encodeScalars(scalars);
    const named = Object.fromEntries(scalarNames.map((name, index) => [name, values[index]]));
    for (const { op, inputs, outputs, attributes } of this.instructions) {
      const given = inputs.map((buffer) => buffer && this.read(buffer));
      const known = outputs.find(Boolean)?.shape ?? [];
      const results = definitions[op.name]({
        inputs: given,
        outputShapes: outputs.map((buffer) => buffer?.shape ?? known),
        attributes,
        scalars: named as Record<ScalarName, number>,
      });
      outputs.forEach((buffer, index) => {
        if (buffer) this.write(buffer, results[index]);
      });
      op.inputSpecs.forEach(({ name }, index) => {
        if (inputs[index] && op.writes?.includes(name)) this.write(inputs[index], given[index]!);
      });
    }
  }

  /** Numbers from a place on, one behind the other. */
  set(place: { arena: ArenaName; offset: number; dtype: DType }, values: ArrayLike<number>): void {
    const step = dtypeBytes(place.dtype) / 2;
    for (let index = 0; index < values.length; index++) {
      this.arenas[place.arena][place.offset / 2 + step * index] = values[index];
    }
  }

  setInput({ offset, dtype }: { offset: number; dtype: DType }, values: ArrayLike<number>): void {
    this.set({ arena: 'io', offset, dtype }, values);
  }

  output({ offset, shape, dtype }: { offset: number; shape: Shape; dtype: DType }): NumberArray {
    const at = this.outputStart + offset;
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    return this.read({ arena: 'io', dtype, offset: at, shape, strides });
  }

  private places({ arena, dtype, offset, shape, strides }: Buffer): Int32Array {
    const step = dtypeBytes(dtype) / 2;
    const steps = strides.map((stride) => step * stride);
    const places = placesOf(shape, steps, offset / 2);
    for (const place of places) {
      if (!(place >= 0 && place < this.arenas[arena].length))
        throw new Error(`${arena}: ${place} is outside`);
    }
    return places;
  }

  read(buffer: Buffer): NumberArray {
    const array = buffer.dtype === 'i32' ? integers(buffer.shape) : floats(buffer.shape);
    const arena = this.arenas[buffer.arena];
    this.places(buffer).forEach((place, index) => {
      array.data[index] = arena[place];
    });
    return array;
  }

  private write(buffer: Buffer, array: NumberArray): void {
    const arena = this.arenas[buffer.arena];
    const data = rounded(array.data, buffer.dtype);
    this.places(buffer).forEach((place, index) => {
      arena[place] = data[index];
    });
  }
}

function readBuffer(reader: Reader): Buffer {
  const [arena, dtype, rank] = [reader.u8(), reader.u8(), reader.u8()];
  reader.pad();
  const offset = reader.u64();
  const shape = Array.from({ length: maxRank }, reader.i64).slice(0, rank);
  const strides = Array.from({ length: maxRank }, reader.i64).slice(0, rank);
  return { arena: arenaNames[arena], dtype: dtypes[dtype], offset, shape, strides };
}

function readInstruction(reader: Reader, buffers: readonly Buffer[]): Instruction {
  const op = kernelOps()[reader.u16()];
  const [inputCount, outputCount] = [reader.u8(), reader.u8()];
  reader.u32();
  reader.u64();
  reader.u64();
  const operands = Array.from({ length: inputCount + outputCount }, () => {
    const index = reader.u32();
    return index === 0xffffffff ? undefined : buffers[index];
  });
  reader.pad();
  const attributes: Record<string, AttributeValue> = {};
  for (const [name, type] of Object.entries(op.attributes ?? {})) {
    if (type === 'f32') attributes[name] = reader.f32();
    else if (type === 'i32') attributes[name] = reader.i32();
    else if (type === 'bool') attributes[name] = reader.i32() !== 0;
    else attributes[name] = type[reader.i32()];
  }
  reader.pad();
  return { op, inputs: operands.slice(0, inputCount), outputs: operands.slice(inputCount), attributes };
}
