import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { sizeOf } from '../shape/shape.js';
import { matmul } from './matmul.js';
import { cast, expand, reshape } from './view.js';

const embeddingOp = defineOp('embedding', {
  inputs: { ids: '* i32', table: 'V C real' },
  outputs: { y: '* C real' },
  gradient: ({ inputs: [ids, table] }, [dy]) => {
    if (!dy) return [];
    const flat = reshape(dy, [-1, dy.shape.at(-1)!]);
    const [dtable] = embeddingBackwardOp([reshape(ids!, [-1]), flat], { rows: table!.shape[0] });
    return [undefined, cast(dtable, table!.dtype)];
  },
});

/** dtable[v] = addend[v] + the sum of the rows of dy whose id is v, in the order of the rows. */
export const embeddingBackwardOp = defineOp('embedding_backward', {
  inputs: { ids: 'N i32', dy: 'N C real', addend: 'V C ?' },
  outputs: { dtable: 'V C' },
  attributes: { rows: 'i32' },
  bind: ({ rows }) => ({ V: rows as number }),
  reuse: { dtable: ['addend'] },
  cost: ({ inputs: [, dy] }) => ({ flops: sizeOf(dy!.shape) }),
});

/** Rows of a table [V, C] by their numbers [...]: gives [..., C]. A number outside 0..V-1 gives zeros. */
export const embedding = (ids: Operand, table: Operand): Tensor => embeddingOp([ids, table])[0];

/**
 * Weighted sums of rows of a table [V, C]: ids and weights [..., W] give [..., C]. It is the product of a sparse matrix, of which each
 * row holds at most W numbers, with the table: W C multiplications a row instead of V C. Padding has weight 0.
 */
export function embeddingBag(ids: Operand, weights: Operand, table: Operand): Tensor {
  const rows = embedding(ids, table);
  const [width, columns] = rows.shape.slice(-2);
  const leading = rows.shape.slice(0, -2);
  const sums = matmul(reshape(weights, [...leading, 1, width]), rows);
  return reshape(sums, [...leading, columns]);
}

const oneHotOp = defineOp('one_hot', {
  inputs: { ids: '* i32' },
  outputs: { y: '* C result' },
  attributes: { size: 'i32' },
  bind: ({ size }) => ({ C: size as number }),
});

/**
 * Ids [...] as vectors [..., size] of zeros with a one at place id; an id outside 0..size-1 gives zeros. Times a table it is
 * `embedding` of the table, which moves as much less memory as the table has rows.
 */
export const oneHot = (ids: Operand, size: number): Tensor => oneHotOp([ids], { size })[0];

const positionsOp = defineOp('positions', {
  inputs: { starts: 'B i32' },
  outputs: { y: 'B T i32' },
  attributes: { length: 'i32' },
  bind: ({ length }) => ({ T: length as number }),
});
const arangeOp = defineOp('arange', {
  outputs: { y: 'N i32' },
  attributes: { length: 'i32' },
  bind: ({ length }) => ({ N: length as number }),
});

/** int32 [length]: 0, 1, 2, ... */
export const arange = (length: number): Tensor => arangeOp([], { length })[0];
/** int32 [B, length]: starts[b], starts[b] + 1, ... */
export const positionsFrom = (starts: Operand, length: number): Tensor =>
  positionsOp([starts], { length })[0];

const sinusoidalOp = defineOp('sinusoidal', {
  inputs: { positions: '* i32' },
  outputs: { y: '* C' },
  attributes: { size: 'i32' },
  bind: ({ size }) => ({ C: size as number }),
});

/** Sinusoidal positions (Vaswani et al. 2017, section 3.5): sin and cos of position / 10000^(2i/size), interleaved. */
export const sinusoidal = (positions: Operand, size: number): Tensor =>
  sinusoidalOp([positions], { size })[0];

const rotaryTableOp = defineOp('rotary_table', {
  inputs: { positions: '* i32' },
  outputs: { cos: '* E', sin: '* E' },
  attributes: { half: 'i32', theta: 'f32' },
  bind: ({ half }) => ({ E: half as number }),
});

const rotaryOp = defineOp('rotary', {
  inputs: { x: 'B T H D real rows', cos: 'B T E strided', sin: 'B T E strided' },
  outputs: { y: 'B T H D real rows' },
  attributes: { inverse: 'bool' },
  reuse: { y: ['x'] },
  gradient: ({ inputs: [, cos, sin], attributes: { inverse } }, [dy]) => [
    dy && rotaryOp([dy, cos, sin], { inverse: !inverse })[0],
  ],
  cost: ({ inputs: [x] }) => ({ flops: 3 * sizeOf(x!.shape) }),
});

/**
 * Rotary positions (Su et al. 2021, arXiv:2104.09864) on the first and second half of each head, as Llama pairs them.
 * x [B, T, H, D] with D even; positions [T] or [B, T].
 */
export function rotary(x: Operand, positions: Operand, theta = 10000): Tensor {
  const tensor = toTensor(x);
  const [batch, length, , headDim] = tensor.shape;
  const half = headDim / 2;
  const tables = rotaryTableOp([positions], { half, theta });
  const [cos, sin] = tables.map((table) => expand(table, [batch, length, half]));
  return rotaryOp([tensor, cos, sin], { inverse: false })[0];
}
