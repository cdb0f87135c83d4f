import { ConfigError, DTypeError, ShapeError } from '../errors.js';
import { type DType, dtypeBytes, dtypes } from '../shape/dtype.js';
import type { Regularity } from '../shape/layout.js';
import { formatShape, type Shape } from '../shape/shape.js';

/**
 * One operand of an op, written as words: extents (`*` any leading extents, a letter one extent, a number that extent),
 * then a dtype (f32 unless said), a regularity (contiguous unless said) and `?` where the operand may be absent.
 * Three words stand for one dtype of all operands that say them: `real`, float32 or bf16, what an op computes with;
 * `result`, float32 or bf16 whatever `real` is, said by the attribute `result` of a call or by an input (else that of
 * `real`); `any`, a dtype of two or four bytes. A kernel reads from Operand.dtype which one it got.
 * `'* C rows ?'` is an optional float32 tensor whose last extent is C and whose last stride is 1. The same words are
 * checked here when a graph is built and in native/program.cc when a program is loaded.
 */
export interface OperandSpec {
  readonly name: string;
  readonly dims: readonly string[];
  readonly dtype: DType | SharedDType;
  readonly regularity: Regularity;
  readonly optional: boolean;
}

/** The words for a dtype that operands share, with the dtypes each may be. */
const sharedDTypes = {
  real: ['f32', 'bf16'],
  result: ['f32', 'bf16'],
  any: dtypes.filter((dtype) => dtypeBytes(dtype) >= 2),
} satisfies Record<string, readonly DType[]>;
type SharedDType = keyof typeof sharedDTypes;
const isShared = (word: string): word is SharedDType => word in sharedDTypes;

/** What the letters of a signature stand for in one call; `*` maps to a list. */
export interface Bindings {
  leading?: Shape;
  real?: DType;
  result?: DType;
  any?: DType;
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
    else if (isShared(word) || dtypes.includes(word as DType)) dtype = word as OperandSpec['dtype'];
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
  checkDType(op, spec, tensor.dtype, bindings);
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

function checkDType(op: string, { name, dtype: word }: OperandSpec, dtype: DType, bindings: Bindings): void {
  const allowed: readonly DType[] = isShared(word) ? sharedDTypes[word] : [word];
  if (isShared(word) && allowed.includes(dtype)) bindings[word] ??= dtype;
  const expected = (isShared(word) && bindings[word]) || allowed.join(' or ');
  if (dtype !== expected) throw new DTypeError(`${op}: ${name} must be ${expected} but is ${dtype}`);
}

/** The dtype an operand has under `bindings`. */
export const dtypeOf = ({ dtype }: OperandSpec, bindings: Bindings): DType => {
  if (dtype === 'result') return bindings.result ?? bindings.real ?? 'f32';
  return isShared(dtype) ? (bindings[dtype] ?? 'f32') : dtype;
};

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
