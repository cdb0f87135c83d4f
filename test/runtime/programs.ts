import { type ArenaName, arenas } from '#src/graph/graph.js';
import { type AttributeValue, kernelOps } from '#src/graph/op.js';
import { opsHash } from '#src/ops/header.js';
import '#src/ops/index.js';
import { scalars } from '#src/ops/scalars.js';
import { type DType, dtypeBytes, dtypes } from '#src/shape/dtype.js';
import { contiguousStrides } from '#src/shape/shape.js';

/** A program by hand, as free to be wrong as its bytes are. */
export interface ProgramText {
  arenas: Partial<Record<ArenaName, { bytes: number; layout?: bigint }>>;
  inputBytes?: number;
  outputOffset?: number;
  outputBytes?: number;
  buffers: BufferText[];
  ranges?: { buffer: number; minimum: number; limit: number }[];
  instructions: InstructionText[];
}
export interface BufferText {
  arena: ArenaName;
  dtype?: DType;
  offset?: number;
  shape: number[];
  strides?: number[];
}
export interface InstructionText {
  op: string;
  inputs: (number | undefined)[];
  outputs: (number | undefined)[];
  attributes?: Record<string, AttributeValue>;
  workspace?: { offset: number; bytes: number };
}

export const scalarCount = scalars.length;

/** Bytes in the order that native/program.cc reads. */
export function encodeProgram(text: ProgramText): Uint8Array {
  const bytes: number[] = [];
  const cell = new DataView(new ArrayBuffer(8));
  const put = (size: number, set: () => void) => {
    set();
    for (let i = 0; i < size; i++) bytes.push(cell.getUint8(i));
  };
  const u8 = (value: number) => put(1, () => cell.setUint8(0, value));
  const u16 = (value: number) => put(2, () => cell.setUint16(0, value, true));
  const u32 = (value: number) => put(4, () => cell.setUint32(0, value, true));
  const i64 = (value: number | bigint) =>
    put(8, () => cell.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true));
  const pad = () => {
    while (bytes.length % 8 !== 0) u8(0);
  };

  const { buffers, instructions, ranges = [] } = text;
  u32(0x4c444448);
  u32(1);
  i64(opsHash());
  u32(buffers.length);
  u32(instructions.length);
  u32(ranges.length);
  u32(0);
  for (const arena of arenas) {
    i64(text.arenas[arena]?.bytes ?? 0);
    i64(text.arenas[arena]?.layout ?? 0n);
  }
  i64(text.inputBytes ?? 0);
  i64(text.outputOffset ?? text.inputBytes ?? 0);
  i64(text.outputBytes ?? 0);
  for (const { arena, dtype = 'f32', offset = 0, shape, strides = contiguousStrides(shape) } of buffers) {
    u8(arenas.indexOf(arena));
    u8(dtypes.indexOf(dtype));
    u8(shape.length);
    for (let i = 0; i < 5; i++) u8(0);
    i64(offset);
    for (let axis = 0; axis < 6; axis++) i64(shape[axis] ?? 1);
    for (let axis = 0; axis < 6; axis++) i64(strides[axis] ?? 0);
  }
  for (const { buffer, minimum, limit } of ranges) {
    u32(buffer);
    u32(0);
    i64(minimum);
    i64(limit);
  }
  const ops = kernelOps();
  for (const { op, inputs, outputs, attributes = {}, workspace } of instructions) {
    const declared = ops.find(({ name }) => name === op)!;
    const types = Object.entries(declared.attributes ?? {});
    u16(ops.indexOf(declared));
    u8(inputs.length);
    u8(outputs.length);
    u32(4 * types.length);
    i64(workspace?.offset ?? 0);
    i64(workspace?.bytes ?? 0);
    for (const operand of [...inputs, ...outputs]) u32(operand ?? 0xffffffff);
    pad();
    for (const [name, type] of types) {
      const value = attributes[name] ?? 0;
      if (type === 'f32') put(4, () => cell.setFloat32(0, value as number, true));
      else
        put(4, () =>
          cell.setInt32(0, typeof type === 'string' ? Number(value) : type.indexOf(String(value)), true),
        );
    }
    pad();
  }
  return Uint8Array.from(bytes);
}

const f32 = dtypeBytes('f32');

/**
 * y = factor (x + w), and w += x, over `size` numbers; w lies in the parameters. Four token ids follow x in the inputs and
 * must be in [0, 10). Repeated `repeat` times over, the step takes longer.
 */
export function addAndScale(size = 64, factor = 2, repeat = 1): ProgramText {
  const inputBytes = size * f32 + 16;
  const round: InstructionText[] = [
    { op: 'add', inputs: [1, 0], outputs: [2] },
    { op: 'scale', inputs: [2], outputs: [3], attributes: { factor, shift: 0 } },
  ];
  return {
    arenas: {
      parameters: { bytes: size * f32, layout: 7n },
      activations: { bytes: size * f32 },
      io: { bytes: inputBytes + size * f32 },
    },
    inputBytes,
    outputBytes: size * f32,
    buffers: [
      { arena: 'parameters', shape: [size] },
      { arena: 'io', shape: [size] },
      { arena: 'activations', shape: [size] },
      { arena: 'io', offset: inputBytes, shape: [size] },
      { arena: 'io', dtype: 'i32', offset: size * f32, shape: [2, 2] },
    ],
    ranges: [{ buffer: 4, minimum: 0, limit: 10 }],
    instructions: [
      ...Array.from({ length: repeat }, () => round).flat(),
      { op: 'add', inputs: [0, 1], outputs: [0] },
    ],
  };
}

/** The inputs of addAndScale: x, then four ids. */
export function inputsOf(x: ArrayLike<number>, ids: number[] = [0, 1, 2, 9]): Uint8Array {
  const inputs = new ArrayBuffer(f32 * x.length + 16);
  new Float32Array(inputs, 0, x.length).set(x);
  new Int32Array(inputs, f32 * x.length).set(ids);
  return new Uint8Array(inputs);
}

/** x, w and outputs of addAndScale as numbers. */
export const floats = (view: ArrayBufferView): Float32Array =>
  new Float32Array(view.buffer, view.byteOffset, view.byteLength / f32);
