import type { Graph, Node, Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { activationOp, layerNormOp, matmulOp, rmsNormOp } from '../ops/index.js';
import { byteSizeOf } from '../shape/bytes.js';
import { isEffect, liveNodes, type Rebuild, type Replacement, rewrite } from './rewrite.js';
import { overlap, slotBelow } from './schedule.js';

type Readers = ReadonlyMap<Tensor, readonly Node[]>;

const firstOrder = (nodes: readonly Node[]) => Math.min(...nodes.map(({ order }) => order));

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
 * right before they are read, by the kernels that made them or ones that give the same numbers. Values below `leastBytes` stay, because
 * another instruction would cost more, and so do those that take nothing at the peak. Runs last, when every value has its dtype.
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
  const chosen = chooseValues(graph, leastBytes, readers, late);
  if (chosen.size > 0) leaveWhatFits(graph, chosen, readers, late);
  if (chosen.size === 0) return graph;
  const orders = new Map<Tensor, number>();
  for (const [root, steps] of chosen)
    for (const made of [root, ...steps])
      orders.set(made, Math.min(firstOrder(late.get(root)!), orders.get(made) ?? Number.POSITIVE_INFINITY));

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

/** Values to be made again, with the steps to each that nobody keeps, such as an activation below a dropout. */
function chooseValues(
  graph: Graph,
  leastBytes: number,
  readers: Readers,
  late: Readers,
): Map<Tensor, Tensor[]> {
  const chosen = new Map<Tensor, Tensor[]>();
  /** Undefined where a tensor cannot be had at `order` for nothing. */
  const stepsTo = (tensor: Tensor, order: number, most: number): Tensor[] | undefined => {
    const root = rootOf(tensor);
    if (root.node.slot) return isWritten(graph, root.node.slot, order) ? undefined : [];
    if (root.node.input) return [];
    if (late.has(root)) return chosen.has(root) ? undefined : [];
    const steps = most > 0 ? stepsFrom(root, order, most - 1) : undefined;
    return steps && [root, ...steps];
  };
  const stepsFrom = (root: Tensor, order: number, most: number): Tensor[] | undefined => {
    const inputs = recipeFor(root)?.inputs.filter((input) => input !== undefined);
    const steps = inputs?.map((input) => stepsTo(input, order, most));
    return steps?.every((found) => found !== undefined) ? steps.flat() : undefined;
  };
  for (const root of late.keys()) {
    if (byteSizeOf(root) < leastBytes || isElsewhere(graph, root, readers)) continue;
    const steps = stepsFrom(root, firstOrder(late.get(root)!), 2);
    if (steps) chosen.set(root, steps);
  }
  return chosen;
}

/** Takes from `chosen` what fits below the peak, beside all that is alive between its last reader in the forward pass and its first behind. */
function leaveWhatFits(graph: Graph, chosen: Map<Tensor, Tensor[]>, readers: Readers, late: Readers): void {
  const order = liveNodes(graph).sort((a, b) => a.order - b.order);
  const times = new Map(order.map((node, time) => [node, time]));
  const alive = new Float64Array(order.length);
  const live = (root: Tensor, first: number, last: number) => {
    for (let time = first; time <= last; time++) alive[time] += byteSizeOf(root);
  };
  const gaps: { root: Tensor; from: number; to: number }[] = [];
  for (const [root, nodes] of readers) {
    if (root.node.slot || root.node.input) continue;
    const behind = chosen.has(root) ? late.get(root)! : [];
    const before = [root.node, ...nodes.filter((node) => !behind.includes(node))];
    const last = Math.max(...before.map((node) => times.get(node)!));
    live(root, times.get(root.node)!, last);
    if (behind.length === 0) continue;
    const again = behind.map((node) => times.get(node)!);
    live(root, Math.min(...again), Math.max(...again));
    gaps.push({ root, from: last + 1, to: Math.min(...again) - 1 });
  }
  const peak = Math.max(...alive);
  for (const { root, from, to } of gaps.sort((a, b) => a.to - a.from - (b.to - b.from))) {
    if (Math.max(0, ...alive.subarray(from, to + 1)) + byteSizeOf(root) > peak) continue;
    live(root, from, to);
    chosen.delete(root);
  }
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
function isElsewhere(graph: Graph, root: Tensor, readers: Readers): boolean {
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
