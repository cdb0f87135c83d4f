import type { Graph, Node } from '../graph/graph.js';
import type { Op } from '../graph/op.js';
import type { Tensor } from '../graph/tensor.js';
import {
  activationBackwardOp,
  activationOp,
  embeddingBackwardOp,
  layerNormBackwardOp,
  layerNormOp,
  matmulOp,
  reshape,
  rmsNormBackwardOp,
  rmsNormOp,
  softmaxCrossEntropyBackwardOp,
  softmaxCrossEntropyOp,
  sumOp,
} from '../ops/index.js';
import { sameShape } from '../shape/shape.js';
import { liveNodes, type Replacement, rewrite, Uses } from './rewrite.js';

// Each fusion is one function: it finds its pattern, and puts the fused node in its place. Reshapes between the parts
// are looked through: matmul works on flattened rows, the ops around it on [batch, length, size].

const isOp = (tensor: Tensor | undefined, op: Op, output = 0): tensor is Tensor =>
  tensor?.node.op === op && tensor.index === output;

/** The tensor below a chain of reshapes, if every link of it has one reader. */
function throughReshapes(tensor: Tensor, uses: Uses): Tensor {
  let below = tensor;
  while (below.node.op.name === 'reshape' && uses.isSingle(below)) below = below.node.inputs[0]!;
  return below;
}

/** The tensor below a chain of reshapes. */
function baseOf(tensor: Tensor): Tensor {
  let found = tensor;
  while (found.node.op.name === 'reshape') found = found.node.inputs[0]!;
  return found;
}

/** The plain product (no epilogue yet) that `tensor` is, up to reshapes that keep its last extent. */
function plainProduct(tensor: Tensor | undefined, uses: Uses): Node | undefined {
  if (!tensor || !uses.isSingle(tensor)) return undefined;
  const below = throughReshapes(tensor, uses);
  const fits = isOp(below, matmulOp) && below.shape.at(-1) === tensor.shape.at(-1) && uses.isSingle(below);
  return fits && below.node.attributes.epilogue === 'none' && !uses.of(below.node.outputs[1]).length
    ? below.node
    : undefined;
}

/** The vector [C] that `tensor` repeats over all leading axes. */
function repeatedVector(tensor: Tensor | undefined): Tensor | undefined {
  if (tensor?.node.op.name !== 'expand') return undefined;
  let below = tensor.node.inputs[0]!;
  while (below.rank > 1 && below.node.op.name === 'reshape') below = below.node.inputs[0]!;
  return below.rank === 1 && below.shape[0] === tensor.shape.at(-1) ? below : undefined;
}

/** Tries a fusion on both ways round of every addition; `match` returns what replaces which nodes where its pattern fits. */
function fuseAdditions(
  graph: Graph,
  match: (node: Node, left: Tensor, right: Tensor, uses: Uses) => [Node, Replacement][] | undefined,
): Graph {
  const uses = new Uses(graph);
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    if (node.op.name !== 'add') continue;
    const [a, b] = node.inputs as [Tensor, Tensor];
    const found = match(node, a, b, uses) ?? match(node, b, a, uses);
    for (const [replaced, replacement] of found ?? []) replacements.set(replaced, replacement);
  }
  return rewrite(graph, replacements);
}

/** a b + bias: the bias joins the epilogue. */
export function fuseBias(graph: Graph): Graph {
  return fuseAdditions(graph, (node, left, right, uses) => {
    const product = plainProduct(left, uses);
    const bias = repeatedVector(right);
    if (!product || !bias || product.inputs[2]) return undefined;
    const replacement: Replacement = ({ get, emit }) => {
      const [a, b] = product.inputs.map((input) => input && get(input));
      const [y] = emit(matmulOp, [a, b, get(bias)], product.attributes, product.order);
      return [reshape(y, node.outputs[0].shape)];
    };
    return [[node, replacement]];
  });
}

/** kind(a b + bias): one pass writes the activation and, for the backward pass, what went into it. */
export function fuseActivation(graph: Graph): Graph {
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    if (node.op !== activationOp) continue;
    const made = baseOf(node.inputs[0]!);
    const product = made.node;
    if (!isOp(made, matmulOp) || product.attributes.epilogue !== 'none' || product.inputs[3]) continue;
    if (replacements.has(product)) continue;
    const attributes = { epilogue: 'activation', kind: node.attributes.kind };
    let fused: readonly Tensor[] | undefined;
    const build: Replacement = ({ get, emit }) => {
      fused ??= emit(
        matmulOp,
        product.inputs.map((input) => input && get(input)),
        attributes,
        product.order,
      );
      return [fused[1]]; // readers of the product read what went into the activation
    };
    replacements.set(product, build);
    replacements.set(node, (rebuild) => {
      rebuild.get(product.outputs[0]);
      return [reshape(fused![0], node.outputs[0].shape)];
    });
  }
  return rewrite(graph, replacements);
}

/** (dy b) * kind'(z): the derivative is applied where the product is written. */
export function fuseActivationBackward(graph: Graph): Graph {
  const uses = new Uses(graph);
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    if (node.op !== activationBackwardOp) continue;
    const [z, dy] = node.inputs;
    const product = plainProduct(dy, uses);
    if (!product) continue;
    replacements.set(node, ({ get, emit }) => {
      const [a, b, bias, addend] = product.inputs.map((input) => input && get(input));
      const preactivation = reshape(get(z!), product.outputs[0].shape);
      const attributes = { epilogue: 'activation_backward', kind: node.attributes.kind };
      const [y] = emit(matmulOp, [a, b, bias, addend, preactivation], attributes, node.order);
      return [reshape(y, node.outputs[0].shape)];
    });
  }
  return rewrite(graph, replacements);
}

/** a b + c: residual connections after a projection, and gradients that accumulate, start from c instead of zero. */
export function fuseAddend(graph: Graph): Graph {
  return fuseAdditions(graph, (node, left, right, uses) => {
    const product = plainProduct(left, uses);
    if (!product || product.inputs[3] || repeatedVector(right)) return undefined;
    const replacement: Replacement = ({ get, emit }) => {
      const [a, b, bias] = product.inputs.map((input) => input && get(input));
      const addend = reshape(get(right), product.outputs[0].shape);
      // In the place of the product: the sum is made as soon as the addend is there.
      const [y] = emit(matmulOp, [a, b, bias, addend], product.attributes, product.order);
      return [reshape(y, node.outputs[0].shape)];
    };
    return [[node, replacement]];
  });
}

const norms = new Map([
  [layerNormOp, { residual: 3, sum: 3 }],
  [rmsNormOp, { residual: 2, sum: 2 }],
]);

/** norm(x + residual): the sum is made while the row is at hand, and kept for whoever else reads it. */
export function fuseResidualNorm(graph: Graph): Graph {
  const uses = new Uses(graph);
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    const places = norms.get(node.op);
    const sum = node.inputs[0];
    if (!places || sum?.node.op.name !== 'add' || node.inputs[places.residual]) continue;
    const addition = sum.node;
    const [x, residual] = addition.inputs as [Tensor, Tensor];
    const broadcast = [x, residual].some(({ node: { op } }) => op.name === 'expand');
    // A projection is better off adding the residual where it writes its product (fuseAddend).
    if (broadcast || plainProduct(x, uses) || plainProduct(residual, uses) || replacements.has(addition))
      continue;
    let fused: readonly Tensor[] | undefined;
    replacements.set(addition, ({ get, emit }) => {
      const inputs: (Tensor | undefined)[] = node.inputs.map((input) =>
        input === sum ? get(x) : input && get(input),
      );
      inputs[places.residual] = get(residual);
      fused = emit(node.op, inputs, node.attributes, addition.order);
      return [fused[places.sum]];
    });
    replacements.set(node, ({ get }) => {
      get(sum);
      return fused!;
    });
  }
  return rewrite(graph, replacements);
}

const normBackwards = new Map([
  [layerNormBackwardOp, 5],
  [rmsNormBackwardOp, 4],
]);

/** dx + g behind a norm: the gradient that reaches the residual stream elsewhere joins the norm's own pass. */
export function fuseNormBackward(graph: Graph): Graph {
  return fuseAdditions(graph, (node, dx, other, uses) => {
    const place = normBackwards.get(dx.node.op);
    const backward = dx.node;
    if (place === undefined || dx.index !== 0 || !uses.isSingle(dx) || backward.inputs[place])
      return undefined;
    if (!sameShape(other.shape, dx.shape) || other.node.op.name === 'expand') return undefined;
    let fused: readonly Tensor[] | undefined;
    const build: Replacement = ({ get, emit }) => {
      if (!fused) {
        const inputs: (Tensor | undefined)[] = backward.inputs.map((input) => input && get(input));
        inputs[place] = get(other);
        fused = emit(backward.op, inputs, backward.attributes, node.order);
      }
      return fused;
    };
    return [
      [backward, build],
      [node, (rebuild) => build(rebuild)!.slice(0, 1)],
    ];
  });
}

/** Whether what `node` computes depends on `other`. */
function needs(node: Node, other: Node): boolean {
  const seen = new Set<Node>();
  const pending = [node];
  for (let next = pending.pop(); next; next = pending.pop()) {
    if (next === other) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    for (const input of next.inputs) if (input) pending.push(input.node);
  }
  return false;
}

/** a b and the sums of b over its rows: the gradient of a bias is made beside that of its weight, from the same dy. */
export function fuseBiasGradient(graph: Graph): Graph {
  const products = new Map<Tensor, Node>();
  for (const node of liveNodes(graph)) {
    const b = node.inputs[1];
    if (node.op === matmulOp && b?.rank === 2) products.set(baseOf(b), node);
  }
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    const [x] = node.inputs;
    const product = node.op === sumOp && x?.shape[0] === 1 && products.get(baseOf(x));
    if (!product || !sameShape(product.inputs[1]!.shape, x!.shape.slice(1))) continue;
    if (replacements.has(product) || needs(product, node)) continue;
    let fused: readonly Tensor[] | undefined;
    const build: Replacement = ({ get, emit }) => {
      fused ??= emit(
        matmulOp,
        product.inputs.map((input) => input && get(input)),
        product.attributes,
        product.order,
      );
      return fused;
    };
    replacements.set(product, build);
    replacements.set(node, (rebuild) => [reshape(build(rebuild)[2]!, node.outputs[0].shape)]);
  }
  return rewrite(graph, replacements);
}

/** dtable + g: a tied embedding adds its rows to the gradient the classifier already wrote. */
export function fuseEmbeddingBackward(graph: Graph): Graph {
  return fuseAdditions(graph, (node, left, right, uses) => {
    if (!isOp(left, embeddingBackwardOp) || !uses.isSingle(left) || left.node.inputs[2]) return undefined;
    const replacement: Replacement = ({ get, emit }) => {
      const [ids, dy] = left.node.inputs.map((input) => input && get(input));
      return emit(embeddingBackwardOp, [ids, dy, get(right)], left.node.attributes, node.order);
    };
    return [[node, replacement]];
  });
}

/** Whether every element of a tensor is the constant 1. */
function isOnes(tensor: Tensor): boolean {
  let below = tensor;
  while (['reshape', 'expand', 'permute'].includes(below.node.op.name)) below = below.node.inputs[0]!;
  return below.node.op.name === 'fill' && below.node.attributes.value === 1;
}

/** A loss that is simply summed: the forward kernel writes dlogits over the logits while they are in cache. */
export function fuseCrossEntropy(graph: Graph): Graph {
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    if (node.op !== softmaxCrossEntropyBackwardOp || !isOnes(node.inputs[3]!)) continue;
    const forward = node.inputs[2]!.node;
    if (forward.op !== softmaxCrossEntropyOp || forward.inputs[0] !== node.inputs[0]) continue;
    replacements.set(node, ({ get }) => [get(forward.outputs[2])]);
  }
  return rewrite(graph, replacements);
}
