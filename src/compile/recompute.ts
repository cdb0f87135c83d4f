import type { Graph, Node } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { liveNodes, type Rebuild, type Replacement, rewrite } from './rewrite.js';

/**
 * Lets the backward pass compute the inside of each block a second time, from what the block was given, instead of keeping it since
 * the forward pass (Chen et al. 2016, arXiv:1604.06174). What other blocks, outputs or stores read is kept. Dropout draws its masks
 * from counters, so that the second time gives the same numbers. Runs behind the merging of equal nodes, which would undo it.
 */
export function recomputeBlocks(graph: Graph): Graph {
  const { backwardFrom } = graph;
  if (backwardFrom === undefined) return graph;
  const nodes = liveNodes(graph);
  const isBackward = ({ order }: Node) => order >= backwardFrom;
  const kept = keptTensors(graph, nodes, isBackward);
  const isInside = (tensor: Tensor) => {
    const { node } = tensor;
    return node.block !== undefined && !isBackward(node) && !node.slot && !node.input && !kept.has(tensor);
  };
  // A block is computed again where the first node of its backward pass asks for it.
  const starts = new Map<number, number>();
  const readers = nodes.filter(
    (node) => isBackward(node) && node.inputs.some((input) => input && isInside(input)),
  );
  for (const { inputs, order } of readers) {
    for (const input of inputs) {
      if (!input || !isInside(input)) continue;
      const block = input.node.block!;
      starts.set(block, Math.min(starts.get(block) ?? order, order));
    }
  }
  const again = new Map<Node, readonly Tensor[]>();
  function recompute(tensor: Tensor, rebuild: Rebuild): Tensor {
    if (!isInside(tensor)) return rebuild.get(tensor);
    const { node } = tensor;
    let outputs = again.get(node);
    if (!outputs) {
      const inputs = node.inputs.map((input) => input && recompute(input, rebuild));
      outputs = rebuild.emit(node.op, inputs, node.attributes, starts.get(node.block!));
      again.set(node, outputs);
    }
    return outputs[tensor.index];
  }
  const replacements = new Map<Node, Replacement>(
    readers.map((node) => [
      node,
      (rebuild) => {
        const inputs = node.inputs.map((input) => input && recompute(input, rebuild));
        return rebuild.emit(node.op, inputs, node.attributes, node.order);
      },
    ]),
  );
  return rewrite(graph, replacements);
}

/** What blocks give to others: tensors that the forward pass outside their block, an output or a store reads. */
function keptTensors(graph: Graph, nodes: readonly Node[], isBackward: (node: Node) => boolean): Set<Tensor> {
  const kept = new Set<Tensor>([...graph.outputs.values(), ...graph.stores.map(({ tensor }) => tensor)]);
  for (const node of nodes) {
    if (isBackward(node)) continue;
    for (const input of node.inputs) if (input && input.node.block !== node.block) kept.add(input);
  }
  return kept;
}
