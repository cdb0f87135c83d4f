import { ConfigError, DTypeError, ShapeError } from '../errors.js';
import { type DType, dtypes } from '../shape/dtype.js';
import type { Regularity } from '../shape/layout.js';
import { formatShape, type Shape } from '../shape/shape.js';

/**
 * One operand of an op, written as words: extents (`*` any leading extents, a letter one extent, a number that extent),
 * then a dtype (f32 unless said; `any` is one dtype of four bytes for all operands that say so), a regularity (contiguous unless said) and `?` where the operand may be absent.
 * `'* C rows ?'` is an optional float32 tensor whose last extent is C and whose last stride is 1. The same words are
 * checked here when a graph is built and in native/program.cc when a program is loaded.
 */
export interface OperandSpec {
  readonly name: string;
  readonly dims: readonly string[];
  readonly dtype: DType | 'any';
  readonly regularity: Regularity;
  readonly optional: boolean;
}

/** What the letters of a signature stand for in one call; `*` maps to a list. */
export interface Bindings {
  leading?: Shape;
  dtype?: DType;
  [letter: string]: number | Shape | DType | undefined;
}

export function parseOperand(name: string, text: string): OperandSpec {
  const dims: string[] = [];
  let dtype: OperandSpec['dtype'] = 'f32';
  let regularity: Regularity = 'contiguous';
  let optional = false;
  for (const word of text.split(' ').filter(Boolean)) {
    if (word === '?') optional = true;
    else if (word === 'rows' || word === 'strided') regularity = word;
    else if ([...dtypes, 'any'].includes(word)) dtype = word as OperandSpec['dtype'];
    else if (/^(\*|[A-Z]|\d+)$/.test(word)) dims.push(word);
    else throw new ConfigError(`operand ${name}: '${word}' is no extent, dtype, regularity or '?'`);
  }
  return { name, dims, dtype, regularity, optional };
}

/** Binds the letters of `spec` to the extents of a tensor, or says where they disagree. */
export function bindOperand(
  op: string,
  spec: OperandSpec,
  tensor: { shape: Shape; dtype: DType },
  bindings: Bindings,
): void {
  if (spec.dtype === 'any') bindings.dtype ??= tensor.dtype;
  const dtype = dtypeOf(spec, bindings);
  if (tensor.dtype !== dtype) {
    throw new DTypeError(`${op}: ${spec.name} must be ${dtype} but is ${tensor.dtype}`);
  }
  const { dims } = spec;
  const star = dims[0] === '*' ? 1 : 0;
  const fixed = dims.length - star;
  const fail = (): never => {
    const bound = Object.entries(bindings).map(
      ([letter, value]) => `${letter === 'leading' ? '*' : letter} = ${value}`,
    );
    throw new ShapeError(
      `${op}: ${spec.name} has shape ${formatShape(tensor.shape)} where [${dims.join(' ')}] is expected` +
        (bound.length ? ` with ${bound.join(', ')}` : ''),
      { op, operand: spec.name, shape: tensor.shape, expected: dims, bindings },
    );
  };
  const leadingRank = tensor.shape.length - fixed;
  if (leadingRank < 0 || (!star && leadingRank !== 0)) fail();
  if (star) {
    const leading = tensor.shape.slice(0, leadingRank);
    bindings.leading ??= leading;
    if (String(bindings.leading) !== String(leading)) fail();
  }
  for (let index = 0; index < fixed; index++) {
    const letter = dims[star + index];
    const extent = tensor.shape[leadingRank + index];
    const expected = /\d/.test(letter) ? Number(letter) : (bindings[letter] ?? extent);
    if (expected !== extent) fail();
    bindings[letter] = extent;
  }
}

/** The dtype an operand has under `bindings`. */
export const dtypeOf = (spec: OperandSpec, bindings: Bindings): DType =>
  spec.dtype === 'any' ? (bindings.dtype ?? 'f32') : spec.dtype;

/** The shape an output operand has under `bindings`. */
export function shapeOf(op: string, spec: OperandSpec, bindings: Bindings): number[] {
  return spec.dims.flatMap((letter) => {
    if (letter === '*') return [...(bindings.leading ?? [])];
    const extent = /\d/.test(letter) ? Number(letter) : bindings[letter];
    if (typeof extent !== 'number')
      throw new ShapeError(`${op}: extent ${letter} of ${spec.name} is unknown`);
    return [extent];
  });
}
