import type { Node } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { add } from '../ops/pointwise.js';
import { full } from '../ops/view.js';

/**
 * Reverse-mode differentiation: appends to the graph of `target` the nodes that compute the gradients of its sum with
 * respect to `wrt`, and returns those (undefined where target does not depend on a tensor). Only nodes on a path from
 * `wrt` to `target` are differentiated.
 */
export function gradients(target: Tensor, wrt: readonly Tensor[]): (Tensor | undefined)[] {
  const { graph } = target;
  graph.beginBackward();
  const nodes = graph.nodes.slice();
  const active = new Set<Node>(wrt.map(({ node }) => node));
  for (const node of nodes) {
    if (node.inputs.some((input) => input && active.has(input.node))) active.add(node);
  }
  const known = new Map<Tensor, Tensor>([[target, full(target.shape, 1, target)]]);
  for (const node of nodes.reverse()) {
    if (!active.has(node) || !node.op.gradient) continue;
    const outputGradients = node.outputs.map((output) => known.get(output));
    if (!outputGradients.some(Boolean)) continue;
    const inputGradients = node.op.gradient(node, outputGradients);
    node.inputs.forEach((input, index) => {
      const gradient = inputGradients[index];
      if (!input || !gradient || !active.has(input.node)) return;
      const earlier = known.get(input);
      known.set(input, earlier ? add(earlier, gradient) : gradient);
    });
  }
  return wrt.map((tensor) => known.get(tensor));
}
