import { type ArenaName, arenas, type Node } from '../graph/graph.js';
import { type AttributeType, type AttributeValue, kernelOps } from '../graph/op.js';
import type { Tensor } from '../graph/tensor.js';
import { opsHash } from '../ops/header.js';
import { type DType, dtypeBytes, dtypes } from '../shape/dtype.js';
import { type Layout, satisfies } from '../shape/layout.js';
import { maxRank, sizeOf } from '../shape/shape.js';
import { type Address, align } from './blocks.js';
import type { MemoryPlan } from './memory.js';

// The format is the one native/program.h describes; native/program.cc checks every number of it.

export const programMagic = 0x4c444448; // 'HDDL'
export const programVersion = 1;
const absent = 0xffffffff;

export interface IoField {
  readonly name: string;
  /** Bytes from the start of the input or output block. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

export interface ArenaNeed {
  readonly bytes: number;
  /** Programs of a session agree on the layout of a persistent arena by this number; 0 agrees with all. */
  readonly layoutHash: bigint;
}

interface IntegerRange {
  readonly address: Address;
  readonly shape: readonly number[];
  readonly minimum: number;
  readonly limit: number;
}

export interface EncodeInput {
  readonly order: readonly Node[];
  readonly memory: MemoryPlan;
  readonly isRead: (tensor: Tensor) => boolean;
  readonly arenaNeeds: Readonly<Record<ArenaName, ArenaNeed>>;
  readonly ranges: readonly IntegerRange[];
  readonly ioInputBytes: number;
  readonly ioOutputOffset: number;
  readonly ioOutputBytes: number;
}

/** Grows as it is written. */
class Bytes {
  private view = new DataView(new ArrayBuffer(1 << 16));
  private at = 0;

  /** Room for so many more bytes: the view that has it (a new one where the old is full) and where they begin. */
  private reserve(bytes: number): { view: DataView; start: number } {
    const start = this.at;
    this.at += bytes;
    if (this.at > this.view.byteLength) {
      const larger = new Uint8Array(Math.max(this.at, 2 * this.view.byteLength));
      larger.set(new Uint8Array(this.view.buffer));
      this.view = new DataView(larger.buffer);
    }
    return { view: this.view, start };
  }
  private put(bytes: number, write: (view: DataView, start: number) => void): void {
    const { view, start } = this.reserve(bytes);
    write(view, start);
  }
  u8 = (value: number) => this.put(1, (view, at) => view.setUint8(at, value));
  u16 = (value: number) => this.put(2, (view, at) => view.setUint16(at, value, true));
  u32 = (value: number) => this.put(4, (view, at) => view.setUint32(at, value, true));
  i32 = (value: number) => this.put(4, (view, at) => view.setInt32(at, value, true));
  f32 = (value: number) => this.put(4, (view, at) => view.setFloat32(at, value, true));
  u64 = (value: number | bigint) => this.put(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  i64 = (value: number) => this.put(8, (view, at) => view.setBigInt64(at, BigInt(value), true));
  pad = (to: number): void => {
    this.reserve(align(this.at, to) - this.at);
  };
  finish = () => new Uint8Array(this.view.buffer.slice(0, this.at));
}

/** Buffers of a program, each distinct view once. */
class BufferTable {
  private readonly indices = new Map<string, number>();
  readonly bytes = new Bytes();

  index(address: Address, dtype: DType, shape: readonly number[], layout: Layout): number {
    const offset = address.offset + layout.offset * dtypeBytes(dtype);
    const key = `${address.arena} ${offset} ${dtype} ${shape} ${layout.strides}`;
    const known = this.indices.get(key);
    if (known !== undefined) return known;
    const { bytes } = this;
    bytes.u8(arenas.indexOf(address.arena));
    bytes.u8(dtypes.indexOf(dtype));
    bytes.u8(shape.length);
    bytes.pad(8);
    bytes.u64(offset);
    const isContiguous = satisfies(layout, shape, 'contiguous');
    const strides = isContiguous ? shape.map((_, axis) => sizeOf(shape.slice(axis + 1))) : layout.strides;
    for (let axis = 0; axis < maxRank; axis++) bytes.i64(shape[axis] ?? 1);
    for (let axis = 0; axis < maxRank; axis++) bytes.i64(strides[axis] ?? 0);
    this.indices.set(key, this.indices.size);
    return this.indices.size - 1;
  }

  get count(): number {
    return this.indices.size;
  }
}

function writeAttribute(bytes: Bytes, type: AttributeType, value: AttributeValue, what: string): void {
  if (type === 'f32') bytes.f32(value as number);
  else if (type === 'i32' || type === 'bool') bytes.i32(Number(value));
  else {
    const index = type.indexOf(value as string);
    if (index < 0) throw new Error(`internal: ${what} is '${value}', which is none of ${type.join(', ')}`);
    bytes.i32(index);
  }
}

/** Turns a scheduled, laid-out graph into the bytes that `session.load` takes. */
export function encode(input: EncodeInput): Uint8Array {
  const opIds = new Map(kernelOps().map((op, id) => [op, id]));
  const table = new BufferTable();
  const operandIndex = (tensor: Tensor | undefined, needed: boolean): number => {
    if (!tensor || !needed) return absent;
    const { address, layout } = input.memory.operand(tensor);
    return table.index(address, tensor.dtype, tensor.shape, layout);
  };
  const instructions = new Bytes();
  for (const node of input.order) {
    const { op } = node;
    const attributes = new Bytes();
    for (const [name, type] of Object.entries(op.attributes ?? {})) {
      const fallback = typeof type === 'string' ? 0 : type[0];
      writeAttribute(attributes, type, node.attributes[name] ?? fallback, `${op.name}.${name}`);
    }
    const attributeBytes = attributes.finish();
    instructions.u16(opIds.get(op)!);
    instructions.u8(op.inputSpecs.length);
    instructions.u8(op.outputSpecs.length);
    instructions.u32(attributeBytes.length);
    instructions.u64(0);
    instructions.u64(op.workspace?.(node) ?? 0);
    op.inputSpecs.forEach((_, index) => {
      instructions.u32(operandIndex(node.inputs[index], true));
    });
    for (const output of node.outputs) instructions.u32(operandIndex(output, input.isRead(output)));
    instructions.pad(8);
    for (const byte of attributeBytes) instructions.u8(byte);
    instructions.pad(8);
  }
  const ranges = new Bytes();
  for (const { address, shape, minimum, limit } of input.ranges) {
    ranges.u32(
      table.index(address, 'i32', shape, {
        offset: 0,
        strides: shape.map((_, axis) => sizeOf(shape.slice(axis + 1))),
      }),
    );
    ranges.u32(0);
    ranges.i64(minimum);
    ranges.i64(limit);
  }
  const header = new Bytes();
  header.u32(programMagic);
  header.u32(programVersion);
  header.u64(opsHash());
  header.u32(table.count);
  header.u32(input.order.length);
  header.u32(input.ranges.length);
  header.u32(0);
  for (const arena of arenas) {
    header.u64(input.arenaNeeds[arena].bytes);
    header.u64(input.arenaNeeds[arena].layoutHash);
  }
  header.u64(input.ioInputBytes);
  header.u64(input.ioOutputOffset);
  header.u64(input.ioOutputBytes);
  return concatBytes([header.finish(), table.bytes.finish(), ranges.finish(), instructions.finish()]);
}

function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
