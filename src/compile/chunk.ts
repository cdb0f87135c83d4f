import type { Graph, Node } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { add, concat, matmulOp, permute, reshape, softmaxCrossEntropyOp, split, sum } from '../ops/index.js';
import { sizeOf } from '../shape/shape.js';
import { type Rebuild, type Replacement, rewrite, Uses } from './rewrite.js';

/** What becomes of the gradient of the logits, chunk by chunk. */
interface Consumer {
  readonly node: Node;
  /** The piece for the rows of one chunk, and how pieces of all chunks are put together. */
  readonly piece: (rebuild: Rebuild, dlogits: Tensor, hidden: Tensor, earlier: Tensor | undefined) => Tensor;
  readonly join: 'rows' | 'sum';
}

/**
 * Cuts the rows of a classifier (product with a [C, V] weight, softmax, cross entropy, both gradients) into chunks, so
 * that logits never take more than `limit` bytes: each chunk's logits are made, turned into their gradient in place, and
 * used up before the next. The weight's gradient accumulates over chunks in float32; results differ from the unchunked
 * ones only by the order of that sum. Runs after fuseBias and fuseCrossEntropy.
 */
export function chunkClassifier(graph: Graph, limit: number): Graph {
  const uses = new Uses(graph);
  const replacements = new Map<Node, Replacement>();
  for (const loss of graph.nodes) {
    if (loss.op !== softmaxCrossEntropyOp || 4 * sizeOf(loss.inputs[0]!.shape) <= limit) continue;
    const logits = loss.inputs[0]!;
    let below = logits;
    while (below.node.op.name === 'reshape' && uses.isSingle(below)) below = below.node.inputs[0]!;
    const product = below.node;
    const isPlain = product.op === matmulOp && product.attributes.epilogue === 'none' && !product.inputs[3];
    if (!isPlain || !uses.isSingle(below) || below.rank !== 2 || uses.of(loss.outputs[1]).length) continue;
    const consumers = consumersOf(loss.outputs[2], product, uses);
    if (!consumers) continue;
    replaceClassifier(loss, product, consumers, limit, replacements);
  }
  return rewrite(graph, replacements);
}

/** All readers of dlogits, or undefined where one is of another kind. */
function consumersOf(dlogits: Tensor, product: Node, uses: Uses): Consumer[] | undefined {
  const found: Consumer[] = [];
  const visit = (tensor: Tensor): boolean =>
    uses.of(tensor).every((reader) => {
      if (!reader) return false;
      if (reader.op.name === 'reshape') return visit(reader.outputs[0]);
      if (reader.op === matmulOp) return visitProduct(reader, tensor, false);
      if (reader.op.name === 'permute' && tensor.rank === 2) {
        return uses
          .of(reader.outputs[0])
          .every((next) => next?.op === matmulOp && visitProduct(next, reader.outputs[0], true));
      }
      if (reader.op.name === 'sum' && reader.outputs[0].shape[1] === tensor.shape.at(-1)) {
        const piece: Consumer['piece'] = (_, chunk, __, earlier) => {
          const part = reshape(sum(chunk, [0]), reader.outputs[0].shape);
          return earlier ? add(earlier, part) : part;
        };
        found.push({ node: reader, piece, join: 'sum' });
        return true;
      }
      return false;
    });
  const visitProduct = (node: Node, operand: Tensor, transposed: boolean): boolean => {
    const [a, b, ...rest] = node.inputs as [Tensor, Tensor, ...(Tensor | undefined)[]];
    if (rest.some(Boolean) || node.attributes.epilogue !== 'none') return false;
    if (!transposed && a === operand) {
      const piece: Consumer['piece'] = ({ get, emit }, chunk) =>
        emit(matmulOp, [chunk, get(b)], node.attributes)[0];
      found.push({ node, piece, join: 'rows' });
      return true;
    }
    // dW = dlogits^T hidden, or its transpose: either way hidden's rows are cut too.
    const isWeightGradient = transposed
      ? a === operand && reaches(b, product)
      : b === operand && reaches(a, product);
    if (!isWeightGradient) return false;
    const piece: Consumer['piece'] = ({ emit }, chunk, hidden, earlier) => {
      const operands = transposed ? [permute(chunk, [1, 0]), hidden] : [permute(hidden, [1, 0]), chunk];
      return emit(matmulOp, [...operands, undefined, earlier], node.attributes)[0];
    };
    found.push({ node, piece, join: 'sum' });
    return true;
  };
  return visit(dlogits) ? found : undefined;
}

/** Whether `tensor` is the product's input rows, perhaps transposed or reshaped. */
function reaches(tensor: Tensor, product: Node): boolean {
  const strip = (start: Tensor) => {
    let below = start;
    while (['reshape', 'permute'].includes(below.node.op.name)) below = below.node.inputs[0]!;
    return below;
  };
  return strip(tensor) === strip(product.inputs[0]!);
}

function replaceClassifier(
  loss: Node,
  product: Node,
  consumers: readonly Consumer[],
  limit: number,
  replacements: Map<Node, Replacement>,
): void {
  const [rows, vocabSize] = loss.inputs[0]!.shape;
  const perChunk = Math.max(1, Math.floor(limit / (4 * vocabSize)));
  const chunks = Math.ceil(rows / perChunk);
  const sizes = Array.from(
    { length: chunks },
    (_, chunk) => Math.floor(((chunk + 1) * rows) / chunks) - Math.floor((chunk * rows) / chunks),
  );
  let results: { losses: Tensor; joined: Map<Node, Tensor> } | undefined;
  const build = (rebuild: Rebuild) => {
    if (results) return results;
    const { get, emit } = rebuild;
    const [hidden, weight, bias] = product.inputs.map((input) => input && get(input));
    const hiddenChunks = split(hidden!, sizes, 0);
    const targetChunks = split(get(loss.inputs[1]!), sizes, 0);
    const losses: Tensor[] = [];
    const pieces = new Map<Node, Tensor[]>(consumers.map(({ node }) => [node, []]));
    for (let chunk = 0; chunk < chunks; chunk++) {
      // Fractions keep the chunks of all nodes together and in order.
      const at = (place: number) => loss.order + (chunk + place / 4) / (chunks + 1);
      const [logits] = emit(matmulOp, [hiddenChunks[chunk], weight, bias], product.attributes, at(0));
      const outputs = emit(loss.op, [logits, targetChunks[chunk]], loss.attributes, at(1));
      losses.push(outputs[0]);
      for (const { node, piece, join } of consumers) {
        const list = pieces.get(node)!;
        const earlier = join === 'sum' ? list[0] : undefined;
        const made = rebuild.at(at(2), () => piece(rebuild, outputs[2], hiddenChunks[chunk], earlier));
        if (join === 'sum') list[0] = made;
        else list.push(made);
      }
    }
    const joined = new Map([...pieces].map(([node, list]) => [node, concat(list, 0)] as const));
    results = { losses: concat(losses, 0), joined };
    return results;
  };
  replacements.set(loss, (rebuild) => [build(rebuild).losses]);
  for (const { node } of consumers) {
    replacements.set(node, (rebuild) => [reshape(build(rebuild).joined.get(node)!, node.outputs[0].shape)]);
  }
}
