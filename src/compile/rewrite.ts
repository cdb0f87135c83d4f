import { Graph, type Node } from '../graph/graph.js';
import type { Attributes, Op } from '../graph/op.js';
import type { Tensor } from '../graph/tensor.js';

/** What a replacement sees while a graph is being rebuilt. */
export interface Rebuild {
  /** The tensor of the new graph that stands for `tensor` of the old one. */
  get(tensor: Tensor): Tensor;
  /** Appends a node to the new graph, by default in the place of the node being replaced. */
  emit(
    op: Op,
    inputs: readonly (Tensor | undefined)[],
    attributes: Attributes,
    order?: number,
  ): readonly Tensor[];
  /** Runs `build` with the nodes it appends at another place of the schedule. */
  at<T>(order: number, build: () => T): T;
}

/** Builds the outputs that replace those of a node; an output left undefined must have no readers. */
export type Replacement = (rebuild: Rebuild) => readonly (Tensor | undefined)[];

export const isEffect = (node: Node): boolean => (node.op.writes?.length ?? 0) > 0;

/**
 * Copies what `graph`'s outputs, stores and in-place ops need into a new graph, with `replacements` in place of some nodes.
 * Dead code does not survive. Every pass is a search for replacements and one call of this.
 */
export function rewrite(graph: Graph, replacements: ReadonlyMap<Node, Replacement>): Graph {
  const target = new Graph();
  target.backwardFrom = graph.backwardFrom;
  const built = new Map<Node, readonly (Tensor | undefined)[]>();
  const rebuild: Rebuild = {
    get(tensor) {
      const found = build(tensor.node)[tensor.index];
      if (!found)
        throw new Error(`internal: ${tensor.node.op.name} lost output ${tensor.index} in a rewrite`);
      return found;
    },
    emit: (op, inputs, attributes, order) => target.append(op, inputs, attributes, { order }).outputs,
    at(order, run) {
      const { cursor } = target;
      target.cursor = order;
      const result = run();
      target.cursor = cursor;
      return result;
    },
  };
  function build(node: Node): readonly (Tensor | undefined)[] {
    const known = built.get(node);
    if (known) return known;
    const { currentBlock } = target;
    target.currentBlock = node.block;
    const outputs = rebuild.at(node.order, () => replacements.get(node)?.(rebuild) ?? copy(node));
    target.currentBlock = currentBlock;
    built.set(node, outputs);
    return outputs;
  }
  function copy(node: Node): readonly Tensor[] {
    if (node.slot) return [target.readSlot(node.slot)];
    if (node.input) return [target.input(node.input)];
    const inputs = node.inputs.map((tensor) => tensor && rebuild.get(tensor));
    return target.append(node.op, inputs, node.attributes, { order: node.order }).outputs;
  }
  // Inputs keep their order even where nobody reads them: it is the layout of the input block.
  for (const node of graph.nodes) if (node.input || isEffect(node)) build(node);
  for (const [name, tensor] of graph.outputs) target.output(name, rebuild.get(tensor));
  for (const { tensor, slot, order } of graph.stores) target.store(rebuild.get(tensor), slot, order);
  return target;
}

/** Readers of every tensor; outputs and stores count as readers without a node. */
export class Uses {
  private readonly readers = new Map<Tensor, (Node | undefined)[]>();

  constructor(graph: Graph) {
    for (const node of liveNodes(graph)) for (const input of node.inputs) if (input) this.add(input, node);
    for (const tensor of graph.outputs.values()) this.add(tensor);
    for (const { tensor } of graph.stores) this.add(tensor);
  }

  private add(tensor: Tensor, node?: Node): void {
    const list = this.readers.get(tensor);
    if (list) list.push(node);
    else this.readers.set(tensor, [node]);
  }

  of(tensor: Tensor): readonly (Node | undefined)[] {
    return this.readers.get(tensor) ?? [];
  }

  isSingle(tensor: Tensor): boolean {
    return this.of(tensor).length === 1;
  }
}

/** Nodes that outputs, stores or in-place ops depend on, in order of the graph. */
export function liveNodes(graph: Graph): Node[] {
  const live = new Set<Node>();
  const pending: Node[] = [
    ...graph.nodes.filter(isEffect),
    ...[...graph.outputs.values()].map(({ node }) => node),
    ...graph.stores.map(({ tensor }) => tensor.node),
  ];
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (live.has(node)) continue;
    live.add(node);
    for (const input of node.inputs) if (input) pending.push(input.node);
  }
  return graph.nodes.filter((node) => live.has(node));
}
