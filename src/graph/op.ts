import { ConfigError } from '../errors.js';
import type { DType } from '../shape/dtype.js';
import type { Layout } from '../shape/layout.js';
import type { Shape } from '../shape/shape.js';
import { type Bindings, bindOperand, dtypeOf, type OperandSpec, parseOperand, shapeOf } from './signature.js';
import { asTensor, type Operand, type Tensor } from './tensor.js';
import { graphOf } from './trace.js';

/** How an attribute is stored in the op's native struct. `bool` is an i32; a list of names is an enumeration. */
export type AttributeType = 'i32' | 'f32' | 'bool' | readonly string[];
export type AttributeValue = number | boolean | string | readonly number[];
export type Attributes = Readonly<Record<string, AttributeValue>>;

/** One call of an op, as shape rules, gradients and costs see it. */
export interface OpCall {
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly attributes: Attributes;
}

export interface Cost {
  /** Floating-point operations; a multiply-add counts as two. */
  readonly flops: number;
}

export interface OpDeclaration {
  /** Operands by name, in order; see OperandSpec for the words. */
  readonly inputs?: Readonly<Record<string, string>>;
  readonly outputs?: Readonly<Record<string, string>>;
  readonly attributes?: Readonly<Record<string, AttributeType>>;
  /** Extents of output letters that no input binds. */
  readonly bind?: (attributes: Attributes) => Bindings;
  /** Free-form shape rule of view ops, whose signature has no letters. */
  readonly infer?: (inputs: readonly Tensor[], attributes: Attributes) => Shape[];
  /** A view op has no kernel: its output is this layout of its input, or undefined where a copy is needed. */
  readonly view?: (
    layout: Layout,
    input: Shape,
    output: Shape,
    attributes: Attributes,
    index: number,
  ) => Layout | undefined;
  /** Gradients of the inputs, given those of the outputs (undefined where nothing flows back). */
  readonly gradient?: (
    call: OpCall,
    outputGradients: readonly (Tensor | undefined)[],
  ) => readonly (Tensor | undefined)[];
  readonly cost?: (call: OpCall) => Cost;
  /** Output name -> inputs whose memory it may take when they die here. */
  readonly reuse?: Readonly<Record<string, readonly string[]>>;
  /** Inputs that the kernel changes in place. Such an op stays in the program and keeps its place in the order. */
  readonly writes?: readonly string[];
  /** One pass over elements: compile/remake.ts makes such values twice rather than keep them for the backward pass. */
  readonly isCheap?: boolean;
  /** Bytes of scratch memory shared by all workers; depends on shapes only. */
  readonly workspace?: (call: OpCall) => number;
}

export interface Op extends OpDeclaration {
  readonly name: string;
  readonly inputSpecs: readonly OperandSpec[];
  readonly outputSpecs: readonly OperandSpec[];
  /** True where native code has a kernel of this name. */
  readonly hasKernel: boolean;
  /** Appends a node to the graph of the operands and returns its outputs. */
  (inputs: readonly (Operand | undefined)[], attributes?: Attributes): Tensor[];
}

const registry = new Map<string, Op>();

/** All ops that native code has kernels for, in order of declaration. */
export const kernelOps = (): Op[] => [...registry.values()].filter((op) => op.hasKernel);

const words = (operands: Readonly<Record<string, string>> = {}) =>
  Object.entries(operands).map(([name, text]) => parseOperand(name, text));

/** Declares an op once: everything the compiler, the native tables and the tests know of it. */
export function defineOp(name: string, declaration: OpDeclaration): Op {
  if (registry.has(name)) throw new ConfigError(`op ${name} is declared twice`);
  const record = (operands: readonly (Operand | undefined)[], attributes: Attributes = {}): Tensor[] => {
    const graph = graphOf(operands, name);
    const inputs = operands.map((operand) => operand && asTensor(operand, graph));
    return graph.append(op, inputs, attributes).outputs as Tensor[];
  };
  const op = Object.assign(record, {
    ...declaration,
    inputSpecs: words(declaration.inputs),
    outputSpecs: words(declaration.outputs),
    hasKernel: !declaration.view && !name.startsWith('source:'),
  }) as unknown as Op;
  Object.defineProperty(op, 'name', { value: name });
  registry.set(name, op);
  return op;
}

/** Shapes and dtypes of an op's outputs; throws where the inputs do not fit its signature. */
export function inferOutputs(
  op: Op,
  inputs: readonly (Tensor | undefined)[],
  attributes: Attributes,
): { shape: Shape; dtype: DType }[] {
  const bindings: Bindings = { result: attributes.result as DType | undefined };
  if (op.infer) {
    const known = inputs as readonly Tensor[];
    const dtype = known[0]?.dtype;
    return op.infer(known, attributes).map((shape) => ({ shape, dtype }));
  }
  op.inputSpecs.forEach((spec, index) => {
    const tensor = inputs[index];
    if (tensor) bindOperand(op.name, spec, tensor, bindings);
    else if (!spec.optional) throw new ConfigError(`${op.name}: input ${spec.name} is missing`);
  });
  if (inputs.length > op.inputSpecs.length) {
    throw new ConfigError(`${op.name}: takes ${op.inputSpecs.length} inputs but got ${inputs.length}`);
  }
  Object.assign(bindings, op.bind?.(attributes));
  return op.outputSpecs.map((spec) => ({
    shape: shapeOf(op.name, spec, bindings),
    dtype: dtypeOf(spec, bindings),
  }));
}
