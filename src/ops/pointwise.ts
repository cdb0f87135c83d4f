import { defineOp, type Op } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';
import { toTensor } from '../graph/trace.js';
import { broadcastShapes, sizeOf } from '../shape/shape.js';
import { expand } from './view.js';

const elementwise = (flops: number) => ({
  isCheap: true,
  cost: ({ outputs: [y] }: { outputs: readonly Tensor[] }) => ({ flops: flops * sizeOf(y.shape) }),
});

type BinaryGradient = (call: { a: Tensor; b: Tensor; y: Tensor }, dy: Tensor) => [Tensor, Tensor];

function defineBinary(name: string, gradient: BinaryGradient): Op {
  return defineOp(name, {
    inputs: { a: '* real strided', b: '* real strided' },
    outputs: { y: '* real' },
    reuse: { y: ['a', 'b'] },
    gradient: ({ inputs: [a, b], outputs: [y] }, [dy]) => (dy ? gradient({ a: a!, b: b!, y }, dy) : []),
    ...elementwise(1),
  });
}

const addOp = defineBinary('add', (_, dy) => [dy, dy]);
const subtractOp = defineBinary('subtract', (_, dy) => [dy, scale(dy, -1)]);
const multiplyOp = defineBinary('multiply', ({ a, b }, dy) => [multiply(dy, b), multiply(dy, a)]);
const divideOp = defineBinary('divide', ({ b, y }, dy) => {
  const da = divide(dy, b);
  return [da, scale(multiply(da, y), -1)];
});

function broadcast(op: Op, a: Operand, b: Operand): Tensor {
  const [left, right] = [toTensor(a), toTensor(b)];
  const shape = broadcastShapes(left.shape, right.shape, op.name);
  return op([expand(left, shape), expand(right, shape)])[0];
}

/** a + b, with broadcasting. */
export const add = (a: Operand, b: Operand): Tensor => broadcast(addOp, a, b);
/** a - b, with broadcasting. */
export const subtract = (a: Operand, b: Operand): Tensor => broadcast(subtractOp, a, b);
/** a * b, element by element, with broadcasting. */
export const multiply = (a: Operand, b: Operand): Tensor => broadcast(multiplyOp, a, b);
/** a / b, with broadcasting. */
export const divide = (a: Operand, b: Operand): Tensor => broadcast(divideOp, a, b);

const scaleOp = defineOp('scale', {
  inputs: { x: '* real' },
  outputs: { y: '* real' },
  attributes: { factor: 'f32', shift: 'f32' },
  reuse: { y: ['x'] },
  gradient: ({ attributes: { factor } }, [dy]) => [dy && scale(dy, factor as number)],
  ...elementwise(2),
});

/** x * factor + shift with constants. */
export const scale = (x: Operand, factor: number, shift = 0): Tensor => scaleOp([x], { factor, shift })[0];

export const unaryKinds = ['exp', 'log', 'sqrt', 'reciprocal', 'square'] as const;
type UnaryKind = (typeof unaryKinds)[number];

const unaryOp = defineOp('unary', {
  inputs: { x: '* real' },
  outputs: { y: '* real' },
  attributes: { kind: unaryKinds },
  reuse: { y: ['x'] },
  gradient: ({ inputs: [x], outputs: [y], attributes: { kind } }, [dy]) => {
    if (!dy) return [];
    const derivative: Record<UnaryKind, () => Tensor> = {
      exp: () => multiply(dy, y),
      log: () => divide(dy, x!),
      sqrt: () => scale(divide(dy, y), 0.5),
      reciprocal: () => scale(multiply(dy, unary(y, 'square')), -1),
      square: () => scale(multiply(dy, x!), 2),
    };
    return [derivative[kind as UnaryKind]()];
  },
  ...elementwise(1),
});

const unary = (x: Operand, kind: UnaryKind): Tensor => unaryOp([x], { kind })[0];
export const exp = (x: Operand): Tensor => unary(x, 'exp');
/** Natural logarithm. */
export const log = (x: Operand): Tensor => unary(x, 'log');
export const sqrt = (x: Operand): Tensor => unary(x, 'sqrt');
/** 1 / x. */
export const reciprocal = (x: Operand): Tensor => unary(x, 'reciprocal');
/** x * x. */
export const square = (x: Operand): Tensor => unary(x, 'square');

/**
 * Activations. `gelu` is x Phi(x); `gelu_tanh` its tanh approximation (Hendrycks & Gimpel 2016, arXiv:1606.08415, the
 * form GPT-2 uses); `silu` is x sigmoid(x). 'none' is the identity, for epilogues.
 */
export const activationKinds = ['none', 'gelu', 'gelu_tanh', 'relu', 'sigmoid', 'silu', 'tanh'] as const;
export type ActivationKind = (typeof activationKinds)[number];

export const activationOp = defineOp('activation', {
  inputs: { x: '* real' },
  outputs: { y: '* real' },
  attributes: { kind: activationKinds },
  reuse: { y: ['x'] },
  gradient: ({ inputs: [x], attributes }, [dy]) => [dy && activationBackwardOp([x, dy], attributes)[0]],
  ...elementwise(10),
});

/** dx = dy * kind'(x). */
export const activationBackwardOp = defineOp('activation_backward', {
  inputs: { x: '* real', dy: '* real' },
  outputs: { dx: '* real' },
  attributes: { kind: activationKinds },
  reuse: { dx: ['x', 'dy'] },
  ...elementwise(14),
});

/** Applies an activation element by element. */
export const activation = (x: Operand, kind: ActivationKind): Tensor =>
  kind === 'none' ? toTensor(x) : activationOp([x], { kind })[0];
export const gelu = (x: Operand): Tensor => activation(x, 'gelu');
export const geluTanh = (x: Operand): Tensor => activation(x, 'gelu_tanh');
export const relu = (x: Operand): Tensor => activation(x, 'relu');
export const sigmoid = (x: Operand): Tensor => activation(x, 'sigmoid');
export const silu = (x: Operand): Tensor => activation(x, 'silu');
export const tanh = (x: Operand): Tensor => activation(x, 'tanh');

const gatedActivationOp = defineOp('gated_activation', {
  inputs: { gate: '* C real rows', up: '* C real rows' },
  outputs: { y: '* C real' },
  attributes: { kind: activationKinds },
  gradient: ({ inputs: [gate, up], attributes }, [dy]) =>
    dy ? gatedActivationBackwardOp([gate, up, dy], attributes) : [],
  ...elementwise(11),
});

const gatedActivationBackwardOp = defineOp('gated_activation_backward', {
  inputs: { gate: '* C real rows', up: '* C real rows', dy: '* C real' },
  outputs: { dgate: '* C real rows', dup: '* C real rows' },
  attributes: { kind: activationKinds },
  ...elementwise(16),
});

/** kind(gate) * up; SwiGLU is kind 'silu' (Shazeer 2020, arXiv:2002.05202). Shapes [..., C]. */
export const gatedActivation = (gate: Operand, up: Operand, kind: ActivationKind): Tensor =>
  gatedActivationOp([gate, up], { kind })[0];
export const swiglu = (gate: Operand, up: Operand): Tensor => gatedActivation(gate, up, 'silu');

const dropoutOp = defineOp('dropout', {
  inputs: { x: '* C real' },
  outputs: { y: '* C real' },
  attributes: { probability: 'f32', site: 'i32' },
  reuse: { y: ['x'] },
  // The mask is a function of (seed, step, site, row, element) alone, so the backward pass draws the same one again.
  gradient: ({ attributes }, [dy]) => [dy && dropoutOp([dy], attributes)[0]],
  ...elementwise(12),
});

/**
 * Zeroes elements with `probability` and scales the rest by 1 / (1 - probability). `site` numbers the dropouts of a
 * model: each draws masks of its own.
 */
export const dropout = (x: Operand, probability: number, site: number): Tensor =>
  probability === 0 ? toTensor(x) : dropoutOp([x], { probability, site })[0];
