import { Graph, type Node, type Slot } from '../graph/graph.js';
import type { OperandSpec } from '../graph/signature.js';
import type { Tensor } from '../graph/tensor.js';
import { cast } from '../ops/index.js';
import type { DType } from '../shape/dtype.js';
import { type Rebuild, type Replacement, rewrite, Uses } from './rewrite.js';

/*
 * Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740, with bf16, whose range is that of float32, so that losses
 * need no scaling). Which operands may be bf16 stands in the signatures of the ops: `real` and `result`.
 */

/** Where the bf16 mirror of a parameter lies: at the same element of an arena of its own. */
export const mirrorOf = (slot: Slot): Slot => ({
  ...slot,
  arena: 'parametersBf16',
  offset: slot.offset / 2,
  dtype: 'bf16',
  name: `${slot.name}.bf16`,
});

/** A program that brings the mirror up to date after parameters were written from outside. */
export function mirrorGraph(elements: number): Graph {
  const graph = new Graph();
  const parameters: Slot = {
    arena: 'parameters',
    offset: 0,
    shape: [elements],
    dtype: 'f32',
    name: 'parameters',
  };
  graph.store(cast(graph.readSlot(parameters), 'bf16'), mirrorOf(parameters));
  return graph;
}

const isReal = (dtype: DType): boolean => dtype === 'f32' || dtype === 'bf16';
/** What a program is given rather than computes takes the precision of whoever reads it. */
const isGiven = ({ node }: Tensor): boolean =>
  node.slot !== undefined ||
  node.input !== undefined ||
  (node.op.view !== undefined && node.inputs.every((input) => isGiven(input!)));
/** Ops that compute element by element: as well in float32, where that is what their results are wanted in. */
const isElementwise = ({ op }: Node): boolean =>
  op.inputSpecs.length > 0 && [...op.inputSpecs, ...op.outputSpecs].every(({ dtype }) => dtype === 'real');
const follows = ({ op }: Node): boolean => op.view !== undefined || op.name === 'copy';

interface Wanted {
  /** Whether all readers of a tensor take float32: losses, gradients of parameters on their way to the arena, logits to sample from. */
  readonly has: (tensor: Tensor) => boolean;
  /** Whether those outputs of a node that are read are all wanted so. */
  readonly hasOutputs: (node: Node, which?: (spec: OperandSpec) => boolean) => boolean;
}

function wantedInFloat32(graph: Graph): Wanted {
  const uses = new Uses(graph);
  const wanted = new Set<Tensor>();
  const kept = new Map<Tensor, DType[]>();
  const keep = (tensor: Tensor, dtype: DType) => kept.set(tensor, [...(kept.get(tensor) ?? []), dtype]);
  for (const tensor of graph.outputs.values()) keep(tensor, 'f32');
  for (const { tensor, slot } of graph.stores) keep(tensor, slot.dtype);
  const hasOutputs: Wanted['hasOutputs'] = (node, which) => {
    const outputs = node.outputs.filter(
      (output, index) => uses.of(output).length && (!which || which(node.op.outputSpecs[index])),
    );
    return outputs.length > 0 && outputs.every((output) => wanted.has(output));
  };
  const takesFloat32 = (reader: Node, tensor: Tensor): boolean => {
    if (follows(reader) || isElementwise(reader)) return hasOutputs(reader);
    return reader.inputs.every((input, index) => {
      if (input !== tensor) return true;
      const spec = reader.op.inputSpecs[index];
      return spec.dtype === 'f32' || (spec.dtype === 'result' && hasOutputs(reader, isResult));
    });
  };
  for (const node of graph.nodes.slice().reverse()) {
    for (const tensor of node.outputs) {
      const readers = uses.of(tensor);
      const isWanted = (reader: Node | undefined) => !reader || takesFloat32(reader, tensor);
      const stored = kept.get(tensor) ?? [];
      if (readers.length && stored.every((dtype) => dtype === 'f32') && readers.every(isWanted))
        wanted.add(tensor);
    }
  }
  return { has: (tensor) => wanted.has(tensor), hasOutputs };
}

const isResult = ({ dtype }: OperandSpec) => dtype === 'result';

/**
 * Makes matrices, activations and their gradients bf16. Losses, statistics, weights of norms, biases, gradients of
 * parameters, the optimizer and what is sampled from stay float32, as does whatever reaches an output or a float32 slot by
 * element-by-element ops alone. Parameters are read from their mirror where an op takes them in bf16. Runs after all fusions.
 */
export function lowerPrecision(graph: Graph): Graph {
  const wanted = wantedInFloat32(graph);
  const convert = converter();
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    if (node.slot || node.input) continue;
    replacements.set(node, (rebuild) => lowerNode(node, wanted, convert, rebuild));
  }
  const lowered = rewrite(graph, replacements);
  // An output or a store keeps the dtype it was declared with.
  for (const [name, tensor] of lowered.outputs) {
    if (tensor.dtype !== 'bf16') continue;
    lowered.cursor = Number.POSITIVE_INFINITY;
    lowered.outputs.set(name, convert(tensor, 'f32'));
    lowered.cursor = undefined;
  }
  lowered.stores.forEach(({ tensor, slot, order }, index) => {
    if (tensor.dtype === slot.dtype) return;
    lowered.cursor = order;
    lowered.stores[index] = { tensor: convert(tensor, slot.dtype), slot, order };
    lowered.cursor = undefined;
  });
  return lowered;
}

function lowerNode(
  node: Node,
  wanted: Wanted,
  convert: ReturnType<typeof converter>,
  { get, emit }: Rebuild,
): readonly Tensor[] {
  const { op } = node;
  const inputs = node.inputs.map((input) => input && get(input));
  const lower = (operands: readonly (Tensor | undefined)[]): boolean => {
    const reals = operands.filter((operand) => operand && isReal(operand.dtype)) as Tensor[];
    return reals.some(({ dtype }) => dtype === 'bf16') || (reals.length > 0 && reals.every(isGiven));
  };
  if (follows(node)) {
    if (inputs.length < 2) return emit(op, inputs, node.attributes, node.order);
    const dtype = lower(inputs) && !wanted.has(node.outputs[0]) ? 'bf16' : 'f32';
    const parts = inputs.map((input) => (isReal(input!.dtype) ? convert(input!, dtype) : input));
    return emit(op, parts, node.attributes, node.order);
  }
  const written = inputs.find((_, index) => op.writes?.includes(op.inputSpecs[index].name));
  let real: DType = 'bf16';
  if (written && isReal(written.dtype)) real = written.dtype;
  else if (isElementwise(node)) real = lower(inputs) && !wanted.hasOutputs(node) ? 'bf16' : 'f32';
  else if (op.name === 'sum' || op.name === 'cast') real = lower(inputs) ? 'bf16' : 'f32';
  const inFloat32 = op.name === 'fill' || wanted.hasOutputs(node, isResult);
  const result = node.attributes.result ?? (inFloat32 ? 'f32' : real);
  const converted = inputs.map((input, index) => {
    if (!input) return undefined;
    const { dtype } = op.inputSpecs[index];
    if (dtype === 'real') return convert(input, real);
    if (dtype === 'result') return convert(input, result as DType);
    return dtype === 'f32' ? convert(input, 'f32') : input;
  });
  if (op.name === 'cast' && inputs[0]!.dtype === result) return [inputs[0]!];
  const attributes = op.outputSpecs.some(isResult) ? { ...node.attributes, result } : node.attributes;
  return emit(op, converted, attributes, node.order);
}

/** Gives a tensor in another dtype, once each: below views, so that what is converted is contiguous. */
function converter(): (tensor: Tensor, dtype: DType) => Tensor {
  const known = new Map<Tensor, Tensor>();
  const nodes = new Map<Node, readonly Tensor[]>();
  const make = (tensor: Tensor, dtype: DType): Tensor => {
    const { graph, node } = tensor;
    if (node.slot?.arena === 'parameters') return graph.readSlot(mirrorOf(node.slot));
    // A bf16 number that was widened is itself again.
    const widened = node.op.name === 'cast' && node.inputs[0]?.dtype === 'bf16';
    if (widened && dtype === 'bf16') return node.inputs[0]!;
    if (node.op.name === 'fill')
      return graph.append(node.op, [], { ...node.attributes, result: dtype }, { order: node.order })
        .outputs[0];
    if (!node.op.view || node.inputs.length !== 1) return cast(tensor, dtype);
    const outputs =
      nodes.get(node) ??
      graph.append(node.op, [convert(node.inputs[0]!, dtype)], node.attributes, { order: node.order })
        .outputs;
    nodes.set(node, outputs);
    return outputs[tensor.index];
  };
  const convert = (tensor: Tensor, dtype: DType): Tensor => {
    if (tensor.dtype === dtype) return tensor;
    const converted = known.get(tensor) ?? make(tensor, dtype);
    // A slot may be written between two reads of it.
    if (!tensor.node.slot) known.set(tensor, converted);
    return converted;
  };
  return convert;
}
