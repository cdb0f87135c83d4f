import type { Graph, Node, Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { byteSizeOf } from '../shape/bytes.js';
import { isEffect, liveNodes } from './rewrite.js';

/** The slot a tensor is a view of, if it is one. */
export function slotBelow(tensor: Tensor): Slot | undefined {
  let below = tensor;
  while (below.node.op.view && below.node.inputs.length === 1) below = below.node.inputs[0]!;
  return below.node.slot;
}

/** The first node with a kernel at or below a tensor, through views; sources have none. */
function producersOf(tensor: Tensor): Node[] {
  const { node } = tensor;
  if (node.slot || node.input) return [];
  return node.op.hasKernel ? [node] : node.inputs.flatMap((input) => (input ? producersOf(input) : []));
}

/** Whether two slots have memory in common. */
export const overlap = (a: Slot, b: Slot): boolean =>
  a.arena === b.arena && a.offset < endOf(b) && b.offset < endOf(a);
/** The first byte behind a slot. */
export const endOf = (slot: Slot): number => slot.offset + byteSizeOf(slot);

/**
 * Kernel nodes in the order they will run: every node after those it reads from, reads of an arena on the right side of
 * the writes to it (as the graph was recorded), and otherwise by `order`.
 */
export function schedule(graph: Graph): Node[] {
  const nodes = liveNodes(graph).filter(({ op }) => op.hasKernel);
  const before = new Map<Node, Set<Node>>(nodes.map((node) => [node, new Set()]));
  const require = (later: Node, earlier: Node) => later !== earlier && before.get(later)!.add(earlier);

  const reads: { node: Node; slot: Slot }[] = [];
  const writes: { nodes: Node[]; slot: Slot; order: number }[] = [];
  for (const node of nodes) {
    node.inputs.forEach((input, index) => {
      if (!input) return;
      for (const producer of producersOf(input)) require(node, producer);
      const slot = slotBelow(input);
      if (!slot) return;
      const isWritten = node.op.writes?.includes(node.op.inputSpecs[index].name);
      if (isWritten) writes.push({ nodes: [node], slot, order: node.order });
      else reads.push({ node, slot });
    });
  }
  for (const { tensor, slot, order } of graph.stores)
    writes.push({ nodes: producersOf(tensor), slot, order });

  for (const write of writes) {
    for (const read of reads) {
      if (!overlap(read.slot, write.slot)) continue;
      for (const writer of write.nodes) {
        if (read.node.order >= write.order && !isSelf(read.node, write.nodes)) require(read.node, writer);
        else require(writer, read.node);
      }
    }
    for (const other of writes) {
      if (other.order <= write.order || !overlap(other.slot, write.slot)) continue;
      for (const later of other.nodes) for (const earlier of write.nodes) require(later, earlier);
    }
  }
  return topological(nodes, before);
}

const isSelf = (node: Node, writers: readonly Node[]) => writers.includes(node) && !isEffect(node);

function topological(nodes: readonly Node[], before: ReadonlyMap<Node, ReadonlySet<Node>>): Node[] {
  const after = new Map<Node, Node[]>(nodes.map((node) => [node, []]));
  const waiting = new Map<Node, number>();
  for (const [node, earlier] of before) {
    waiting.set(node, earlier.size);
    for (const other of earlier) after.get(other)!.push(node);
  }
  const place = new Map(nodes.map((node, index) => [node, index]));
  const precedes = (a: Node, b: Node) => a.order - b.order || place.get(a)! - place.get(b)!;
  const ready = nodes.filter((node) => waiting.get(node) === 0).sort(precedes);
  const result: Node[] = [];
  for (let node = ready.shift(); node; node = ready.shift()) {
    result.push(node);
    for (const next of after.get(node)!) {
      const left = waiting.get(next)! - 1;
      waiting.set(next, left);
      if (left > 0) continue;
      let index = ready.length; // few nodes are ready at a time: insertion keeps the list sorted
      while (index > 0 && precedes(next, ready[index - 1]) < 0) index--;
      ready.splice(index, 0, next);
    }
  }
  if (result.length !== nodes.length) {
    throw new Error('internal: a store and its readers wait for each other');
  }
  return result;
}
