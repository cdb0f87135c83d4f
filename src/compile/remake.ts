import type { Graph, Node, Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { activationOp, layerNormOp, matmulOp, rmsNormOp } from '../ops/index.js';
import { dtypeBytes } from '../shape/dtype.js';
import { sizeOf } from '../shape/shape.js';
import { isEffect, liveNodes, type Rebuild, type Replacement, rewrite } from './rewrite.js';
import { overlap, slotBelow } from './schedule.js';

/** How a tensor is made a second time: as the first output of an op. */
type Recipe = Pick<Node, 'op' | 'inputs' | 'attributes'>;

/** Undefined where making a tensor again takes more than a pass over its elements or rows. */
function recipeFor({ node, index }: Tensor): Recipe | undefined {
  const { op, attributes, inputs, outputs } = node;
  if (index > 0) return undefined;
  if (op === matmulOp && attributes.epilogue === 'activation')
    return { op: activationOp, inputs: [outputs[1]], attributes: { kind: attributes.kind } };
  if (op === layerNormOp || op === rmsNormOp) {
    const residual = op.inputSpecs.findIndex(({ name }) => name === 'residual');
    const sum = outputs[op.outputSpecs.findIndex(({ name }) => name === 'sum')];
    return inputs[residual] ? { op, inputs: [sum, ...inputs.slice(1, residual)], attributes } : node;
  }
  return op.isCheap ? node : undefined;
}

/**
 * Lets the backward pass make again what the forward pass made cheaply of values that are kept anyway: activations of what went into
 * them, outputs of norms of the residual stream (the cheap half of Korthikanti et al. 2022, arXiv:2205.05198). They are made
 * right before they are read, by the kernels that made them or ones that give the same numbers. Values below `leastBytes` stay:
 * another instruction would cost more. Runs last, when every value has its dtype and is made as it will be.
 */
export function remakeCheapValues(graph: Graph, leastBytes: number): Graph {
  const { backwardFrom } = graph;
  if (backwardFrom === undefined) return graph;
  const readers = readersOf(graph);
  const late = new Map<Tensor, Node[]>();
  for (const [root, nodes] of readers) {
    const found = nodes.filter(({ order }) => order >= backwardFrom);
    if (root.node.order < backwardFrom && found.length) late.set(root, found);
  }
  const orders = chooseValues(graph, leastBytes, readers, late);
  if (orders.size === 0) return graph;

  const made = new Map<Node, readonly Tensor[]>();
  const build = (tensor: Tensor, rebuild: Rebuild): Tensor => {
    const root = rootOf(tensor);
    const order = orders.get(root);
    if (order === undefined) return rebuild.get(tensor);
    const { node } = tensor;
    const { op, inputs, attributes } = tensor === root ? recipeFor(root)! : node;
    const outputs =
      made.get(node) ??
      rebuild.emit(
        op,
        inputs.map((input) => input && build(input, rebuild)),
        attributes,
        order,
      );
    made.set(node, outputs);
    return outputs[tensor.index];
  };
  const replacements = new Map<Node, Replacement>();
  for (const root of orders.keys())
    for (const node of late.get(root) ?? [])
      replacements.set(node, (rebuild) => {
        const inputs = node.inputs.map((input) => input && build(input, rebuild));
        return rebuild.emit(node.op, inputs, node.attributes, node.order);
      });
  return rewrite(graph, replacements);
}

/** What is made again, and in what place of the schedule: values, and the steps to them that nobody keeps. */
function chooseValues(
  graph: Graph,
  leastBytes: number,
  readers: ReadonlyMap<Tensor, readonly Node[]>,
  late: ReadonlyMap<Tensor, readonly Node[]>,
): ReadonlyMap<Tensor, number> {
  const orders = new Map<Tensor, number>();
  /** The steps that lead to a tensor at `order`; undefined where it cannot be had then for nothing. */
  const stepsTo = (tensor: Tensor, order: number): Tensor[] | undefined => {
    const root = rootOf(tensor);
    if (root.node.slot) return isWritten(graph, root.node.slot, order) ? undefined : [];
    if (root.node.input) return [];
    if (late.has(root)) return orders.has(root) ? undefined : [];
    const steps = stepsFrom(root, order); // such as an activation below a dropout
    return steps && [root, ...steps];
  };
  const stepsFrom = (root: Tensor, order: number): Tensor[] | undefined => {
    const inputs = recipeFor(root)?.inputs.filter((input) => input !== undefined);
    const steps = inputs?.map((input) => stepsTo(input, order));
    return steps?.every((found) => found !== undefined) ? steps.flat() : undefined;
  };
  for (const [root, nodes] of late) {
    if (sizeOf(root.shape) * dtypeBytes(root.dtype) < leastBytes) continue;
    if (isElsewhere(graph, root, readers)) continue;
    const order = Math.min(...nodes.map((node) => node.order));
    const steps = stepsFrom(root, order);
    if (!steps) continue;
    for (const made of [root, ...steps]) orders.set(made, Math.min(order, orders.get(made) ?? order));
  }
  return orders;
}

/** The tensor below views of one input, whose memory is read. */
function rootOf(tensor: Tensor): Tensor {
  let root = tensor;
  while (root.node.op.view && root.node.inputs.length === 1) root = root.node.inputs[0]!;
  return root;
}

/** Who reads the memory of a root, through views of one input. */
function readersOf(graph: Graph): Map<Tensor, Node[]> {
  const readers = new Map<Tensor, Node[]>();
  for (const node of liveNodes(graph)) {
    if (node.op.view && node.inputs.length === 1) continue;
    for (const input of node.inputs) {
      if (!input) continue;
      const root = rootOf(input);
      const known = readers.get(root);
      if (known) known.push(node);
      else readers.set(root, [node]);
    }
  }
  return readers;
}

/** Whether a tensor lies where it costs nothing: in a slot, or as a part of another. */
function isElsewhere(graph: Graph, root: Tensor, readers: ReadonlyMap<Tensor, readonly Node[]>): boolean {
  const stored = [...graph.outputs.values(), ...graph.stores.map(({ tensor }) => tensor)];
  const isPart = readers.get(root)!.some(({ op }) => op.view !== undefined);
  return isPart || stored.some((tensor) => rootOf(tensor) === root);
}

/** Whether a slot is written by `order`, so that whoever reads it then finds something else. */
function isWritten(graph: Graph, slot: Slot, order: number): boolean {
  if (graph.stores.some((store) => store.order <= order && overlap(store.slot, slot))) return true;
  return graph.nodes.some(
    (node) =>
      isEffect(node) &&
      node.order <= order &&
      node.inputs.some((input, index) => {
        const written = input && node.op.writes!.includes(node.op.inputSpecs[index].name) && slotBelow(input);
        return written && overlap(written, slot);
      }),
  );
}
