import { gradients } from '#src/compile/index.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import { add, multiply, reshape, type ScalarName, sum } from '#src/ops/index.js';
import { philoxInto } from '#src/random/philox.js';
import type { DType } from '#src/shape/dtype.js';
import { type Shape, sizeOf } from '#src/shape/shape.js';

/** Standard normal and uniform numbers of one array of a sample. */
export interface Draws {
  normal(): number;
  uniform(): number;
}

/** An array that a sample is given. Floating-point values are float32 numbers, so that kernels get the same ones. */
export interface SampleArray {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly draw: (draws: Draws, index: number) => number;
  /** Range that an integer input declares. */
  readonly minimum?: number;
  readonly limit?: number;
}

export type Tensors = Readonly<Record<string, Tensor>>;

/**
 * One use of an op: a small graph over named arrays. The same sample drives the gradient check, the comparison of kernels
 * with the interpreter, that of fused with unfused programs, and the benchmark.
 */
export interface Sample {
  /** The op it is for, then what is particular about it. */
  readonly name: string;
  readonly inputs: Readonly<Record<string, SampleArray>>;
  /** State that in-place ops change. */
  readonly slots?: Readonly<Record<string, SampleArray>>;
  readonly build: (tensors: Tensors) => Tensors;
  readonly scalars?: Partial<Record<ScalarName, number>>;
  /**
   * How the gradient is held to central differences: `smooth` ops within 1e-6, `normalised` ones (attention, norm,
   * softmax) within 1e-5; `none` where there is no gradient.
   */
  readonly gradient: 'smooth' | 'normalised' | 'none';
}

/** Bounds of |kernel - float64| <= atol + rtol max|float64|, by dtype of the kernel. */
export const tolerances = {
  f32: { forward: { rtol: 1e-5, atol: 1e-6 }, backward: { rtol: 1e-4, atol: 1e-6 } },
  bf16: { forward: { rtol: 1.6e-2, atol: 1e-3 }, backward: { rtol: 1.6e-2, atol: 1e-3 } },
} as const;

/** Bounds of the relative error of a derivative. */
export const gradientBounds = { smooth: 1e-6, normalised: 1e-5 } as const;

/** Normally distributed numbers. */
export const normal = (shape: Shape, deviation = 1, mean = 0): SampleArray => ({
  shape,
  dtype: 'f32',
  draw: ({ normal }) => mean + deviation * normal(),
});

/** Numbers from 0.5 to 2, for divisors and logarithms. */
export const positive = (shape: Shape): SampleArray => ({
  shape,
  dtype: 'f32',
  draw: ({ uniform }) => 0.5 + 1.5 * uniform(),
});

/** Numbers at least 0.1 away from 0, where ReLU has its kink. */
export const awayFromZero = (shape: Shape): SampleArray => ({
  shape,
  dtype: 'f32',
  draw: ({ normal }) => {
    const value = normal();
    return value + Math.sign(value) * 0.1;
  },
});

/** Eighths, normally distributed, which bf16 holds exactly. */
export const bf16 = (shape: Shape): SampleArray => ({
  shape,
  dtype: 'bf16',
  draw: ({ normal }) => Math.round(8 * normal()) / 8,
});

/** Integers from `minimum` to `limit` - 1. */
export const integers = (shape: Shape, minimum: number, limit: number): SampleArray => ({
  shape,
  dtype: 'i32',
  draw: ({ uniform }) => minimum + Math.floor(uniform() * (limit - minimum)),
  minimum,
  limit,
});

/** The numbers given, in their order. */
export const exactly = (
  shape: Shape,
  values: readonly number[],
  dtype: 'f32' | 'i32' = 'f32',
): SampleArray => ({
  shape,
  dtype,
  draw: (_, index) => values[index],
  ...(dtype === 'i32' ? { minimum: Math.min(...values), limit: Math.max(...values) + 1 } : {}),
});

/** A key of Philox from a text: every array of every sample has its own numbers. */
function keyOf(text: string): readonly [number, number] {
  let hash = 2166136261;
  for (const letter of text) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
  return [hash >>> 0, text.length];
}

const drawn = new Map<string, Float64Array>();

/** The values of one array of a sample. */
export function valuesOf(sample: string, name: string, array: SampleArray): Float64Array {
  const text = `${sample}/${name} [${array.shape}]`;
  const known = drawn.get(text);
  if (known) return known;
  const key = keyOf(text);
  const words = new Uint32Array(4);
  const uniform = (word: number) => (words[word] + 0.5) / 2 ** 32;
  const draws: Draws = {
    uniform: () => uniform(0),
    normal: () => Math.sqrt(-2 * Math.log(uniform(0))) * Math.cos(2 * Math.PI * uniform(1)),
  };
  const values = new Float64Array(sizeOf(array.shape));
  for (let index = 0; index < values.length; index++) {
    philoxInto(words, index, 0, 0, 0, ...key);
    values[index] = Math.fround(array.draw(draws, index));
  }
  drawn.set(text, values);
  return values;
}

/** Where the state of a sample lies: guarded on both sides by bytes that no kernel may touch. */
export const guardBytes = 64;

/** Lays arrays out with guards between them; returns their slots by name and the bytes they take. */
export function guardedSlots(
  arena: Slot['arena'],
  arrays: Readonly<Record<string, { shape: Shape; dtype: DType }>>,
): { slots: Record<string, Slot>; bytes: number } {
  const slots: Record<string, Slot> = {};
  let offset = guardBytes;
  for (const [name, { shape, dtype }] of Object.entries(arrays)) {
    slots[name] = { arena, offset, shape, dtype, name };
    offset = Math.ceil((offset + 4 * sizeOf(shape)) / 64) * 64 + guardBytes;
  }
  return { slots, bytes: offset };
}

export interface SampleGraph {
  readonly graph: Graph;
  /** All inputs by name, those of the cotangents included. */
  readonly inputs: Readonly<Record<string, SampleArray>>;
  readonly state: Readonly<Record<string, Slot>>;
  readonly outputs: Tensors;
}

export interface SampleGraphOptions {
  /** Gradients too: of the sum over outputs of output times a random array, as outputs `gradient.<input>`. */
  readonly backward?: boolean;
  /** What stands between the inputs and the op, and between it and the outputs. */
  readonly wrap?: (tensor: Tensor) => Tensor;
}

const isFloat = ({ dtype }: { dtype: DType }) => dtype === 'f32';

/** Builds the graph of a sample. Outputs are returned, not yet declared: tests keep them as outputs or in slots. */
export function sampleGraph(sample: Sample, options: SampleGraphOptions = {}): SampleGraph {
  const graph = new Graph();
  const wrap = (tensor: Tensor) => (isFloat(tensor) && options.wrap ? options.wrap(tensor) : tensor);
  const inputs: Record<string, SampleArray> = { ...sample.inputs };
  const declare = (name: string): Tensor => {
    const { shape, dtype, minimum, limit } = inputs[name];
    return graph.input({ name, shape, dtype, minimum, limit });
  };
  const leaves = Object.fromEntries(Object.keys(sample.inputs).map((name) => [name, declare(name)]));
  const { slots: state } = guardedSlots('kvCache', sample.slots ?? {});
  const kept = Object.fromEntries(Object.entries(state).map(([name, slot]) => [name, graph.readSlot(slot)]));
  const given = Object.fromEntries(Object.entries(leaves).map(([name, tensor]) => [name, wrap(tensor)]));
  const built = sample.build({ ...given, ...kept });
  const outputs = Object.fromEntries(Object.entries(built).map(([name, tensor]) => [name, wrap(tensor)]));
  if (options.backward && sample.gradient !== 'none') {
    const parts = Object.entries(outputs)
      .filter(([, tensor]) => isFloat(tensor))
      .map(([name, tensor]) => {
        inputs[`cotangent.${name}`] = normal(tensor.shape);
        return reshape(sum(multiply(tensor, declare(`cotangent.${name}`))), [1]);
      });
    const target = parts.reduce((total, part) => add(total, part));
    const names = Object.keys(leaves).filter((name) => isFloat(leaves[name]));
    gradients(
      target,
      names.map((name) => leaves[name]),
    ).forEach((gradient, index) => {
      if (gradient) outputs[`gradient.${names[index]}`] = gradient;
    });
    outputs.target = target;
  }
  return { graph, inputs, state, outputs };
}

/** The values of all inputs of a graph of a sample. */
export const inputValues = (
  { name }: Sample,
  { inputs }: Pick<SampleGraph, 'inputs'>,
): Record<string, Float64Array> =>
  Object.fromEntries(Object.entries(inputs).map(([key, array]) => [key, valuesOf(name, key, array)]));
