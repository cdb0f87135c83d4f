import type { Graph, Node } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { matmulOp, transpose } from '../ops/index.js';
import { type Rebuild, type Replacement, rewrite, Uses } from './rewrite.js';

/** Drops dead code and computes equal expressions once. */
export function eliminateCommonSubexpressions(graph: Graph): Graph {
  const replacements = new Map<Node, Replacement>();
  const known = new Map<string, readonly Tensor[]>();
  const identities = new Map<Tensor, number>();
  const identity = (tensor: Tensor | undefined) => {
    if (!tensor) return '-';
    if (!identities.has(tensor)) identities.set(tensor, identities.size);
    return identities.get(tensor);
  };
  // Two reads of a place are not equal when something may be written there in between.
  const written = new Set(graph.stores.map(({ slot }) => slot.arena));
  for (const { op, inputs } of graph.nodes) {
    if (op.writes) for (const input of inputs) if (input?.node.slot) written.add(input.node.slot.arena);
  }
  const isStable = (tensor: Tensor | undefined) => !tensor?.node.slot || !written.has(tensor.node.slot.arena);
  for (const node of graph.nodes) {
    if (node.slot || node.input || node.op.writes || !node.inputs.every(isStable)) continue;
    replacements.set(node, ({ get, emit }) => {
      const inputs = node.inputs.map((input) => input && get(input));
      const key = [node.op.name, JSON.stringify(node.attributes), ...inputs.map(identity)].join(' ');
      const outputs = known.get(key) ?? emit(node.op, inputs, node.attributes, node.order);
      known.set(key, outputs);
      return outputs;
    });
  }
  return rewrite(graph, replacements);
}

const swapsLastTwo = ({ op, attributes }: Node): boolean => {
  if (op.name !== 'permute') return false;
  const axes = attributes.axes as readonly number[];
  const last = axes.length - 1;
  return axes.every((axis, index) => axis === (index < last - 1 ? index : 2 * last - 1 - index));
};

/** (a b)^T = b^T a^T: the gradient of a transposed weight is written in the weight's own layout, without a copy. */
export function transposeProducts(graph: Graph): Graph {
  const uses = new Uses(graph);
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    const product = node.inputs[0]?.node;
    if (!swapsLastTwo(node) || product?.op !== matmulOp || !uses.isSingle(product.outputs[0])) continue;
    const [a, b, ...rest] = product.inputs;
    if (rest.some(Boolean)) continue;
    replacements.set(node, ({ get, emit }: Rebuild) => {
      const operands = [transpose(get(b!)), transpose(get(a!))];
      return emit(matmulOp, operands, product.attributes, product.order).slice(0, 1);
    });
  }
  return rewrite(graph, replacements);
}

/** permute of a permute becomes one, so that a matrix transposed twice is the matrix again. */
export function composePermutes(graph: Graph): Graph {
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    const inner = node.inputs[0]?.node;
    if (node.op.name !== 'permute' || inner?.op.name !== 'permute') continue;
    const outerAxes = node.attributes.axes as readonly number[];
    const axes = outerAxes.map((axis) => (inner.attributes.axes as readonly number[])[axis]);
    replacements.set(node, ({ get, emit }) => {
      const source = get(inner.inputs[0]!);
      const isIdentity = axes.every((axis, index) => axis === index);
      return isIdentity ? [source] : emit(node.op, [source], { axes }, node.order);
    });
  }
  return rewrite(graph, replacements);
}
