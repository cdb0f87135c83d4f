import type { Graph, Node, Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { copyOp } from '../ops/view.js';
import { contiguousLayout, type Layout, permuteLayout, reshapeLayout, satisfies } from '../shape/layout.js';
import { type Replacement, rewrite, Uses } from './rewrite.js';

/** Where a tensor lies: a layout over the elements of `root`, which owns memory. */
export interface Location {
  readonly root: Tensor;
  readonly layout: Layout;
}

/** Memory given to a root from outside: a slot, or a part of a concatenation. */
export interface Place {
  readonly within: Slot | Tensor;
  readonly layout: Layout;
}

const isConcat = ({ op }: Node) => op.name === 'concat';

/** Follows views down to their root; undefined where a view cannot be expressed by strides. */
export function locate(tensor: Tensor): Location | undefined {
  const { node } = tensor;
  if (!node.op.view || isConcat(node)) return { root: tensor, layout: contiguousLayout(tensor.shape) };
  const input = node.inputs[0]!;
  const below = locate(input);
  const layout =
    below && node.op.view(below.layout, input.shape, tensor.shape, node.attributes, tensor.index);
  return layout && { root: below.root, layout };
}

/** The layout its root needs for `tensor` to lie at `layout`: inverts reshapes and permutes. */
function invert(tensor: Tensor, layout: Layout): Location | undefined {
  const { node } = tensor;
  if (!node.op.view || isConcat(node)) return { root: tensor, layout };
  const input = node.inputs[0]!;
  if (node.op.name === 'reshape') {
    const below = reshapeLayout(layout, tensor.shape, input.shape);
    return below && invert(input, below);
  }
  if (node.op.name === 'permute') {
    const axes = node.attributes.axes as readonly number[];
    return invert(
      input,
      permuteLayout(
        layout,
        axes.map((_, axis) => axes.indexOf(axis)),
      ),
    );
  }
  return undefined;
}

const isOnlyReadThrough = (tensor: Tensor, uses: Uses): boolean =>
  uses.isSingle(tensor) &&
  (!tensor.node.op.view || isConcat(tensor.node) || isOnlyReadThrough(tensor.node.inputs[0]!, uses));

/** The root to place so that its producer writes `tensor` straight to `layout`, if that can be. */
function placeable(
  tensor: Tensor,
  layout: Layout,
  uses: Uses,
  taken: ReadonlySet<Tensor>,
): Location | undefined {
  const location = invert(tensor, layout);
  if (!location || taken.has(location.root)) return undefined;
  const { root } = location;
  const { node } = root;
  if (isConcat(node) ? !satisfies(location.layout, root.shape, 'contiguous') : !node.op.hasKernel)
    return undefined;
  // Other readers expect the root to be contiguous, so only a part nobody else reads may lie otherwise.
  if (!satisfies(location.layout, root.shape, 'contiguous')) {
    const regularity = node.op.outputSpecs[root.index].regularity;
    if (!satisfies(location.layout, root.shape, regularity) || !isOnlyReadThrough(tensor, uses))
      return undefined;
  }
  return location;
}

/** Layouts of the inputs of a concatenation within its output. */
function partLayouts(concat: Node): Layout[] {
  const axis = concat.attributes.axis as number;
  const { strides } = contiguousLayout(concat.outputs[0].shape);
  let start = 0;
  return concat.inputs.map((input) => {
    const offset = start * strides[axis];
    start += input!.shape[axis];
    return { offset, strides };
  });
}

/** Inserts the copies without which some kernel would get an operand less regular than it takes. */
export function insertCopies(graph: Graph): Graph {
  const uses = new Uses(graph);
  const taken = new Set<Tensor>();
  const replacements = new Map<Node, Replacement>();
  for (const node of graph.nodes) {
    if (node.slot || node.input) continue;
    replacements.set(node, ({ get, emit }) => {
      const inputs = node.inputs.map((input) => input && get(input));
      const copy = (tensor: Tensor) => emit(copyOp, [tensor], {}, node.order)[0];
      if (isConcat(node)) {
        const layouts = partLayouts(node);
        const parts = node.inputs.map((input, index) => {
          const location = placeable(input!, layouts[index], uses, taken);
          if (!location) return copy(inputs[index]!);
          taken.add(location.root);
          return inputs[index];
        });
        return emit(node.op, parts, node.attributes, node.order);
      }
      if (node.op.view) {
        const input = inputs[0]!;
        const { layout } = locate(input)!;
        const known = node.outputs.every((output) =>
          node.op.view!(layout, input.shape, output.shape, node.attributes, output.index),
        );
        return emit(node.op, [known ? input : copy(input)], node.attributes, node.order);
      }
      const regular = inputs.map((input, index) => {
        if (!input) return undefined;
        const { layout } = locate(input)!;
        return satisfies(layout, input.shape, node.op.inputSpecs[index].regularity) ? input : copy(input);
      });
      return emit(node.op, regular, node.attributes, node.order);
    });
  }
  const copied = rewrite(graph, replacements);
  const newUses = new Uses(copied);
  const newTaken = new Set<Tensor>(placeConcats(copied, newUses).keys());
  copied.stores.forEach(({ tensor, slot, order }, index) => {
    const location = placeable(tensor, contiguousLayout(tensor.shape), newUses, newTaken);
    const stored = location ? tensor : copied.append(copyOp, [tensor], {}, { order }).outputs[0];
    newTaken.add(location?.root ?? stored);
    copied.stores[index] = { tensor: stored, slot, order };
  });
  return copied;
}

function placeConcats(graph: Graph, uses: Uses): Map<Tensor, Place> {
  const places = new Map<Tensor, Place>();
  for (const node of graph.nodes) {
    if (!isConcat(node)) continue;
    const layouts = partLayouts(node);
    node.inputs.forEach((input, index) => {
      const location = placeable(input!, layouts[index], uses, new Set(places.keys()));
      if (!location) throw new Error('internal: a part of a concatenation has no place');
      places.set(location.root, { within: node.outputs[0], layout: location.layout });
    });
  }
  return places;
}

/** Places of all roots whose memory is decided by a store or a concatenation. */
export function placesOf(graph: Graph): Map<Tensor, Place> {
  const uses = new Uses(graph);
  const places = placeConcats(graph, uses);
  for (const { tensor, slot } of graph.stores) {
    const location = placeable(tensor, contiguousLayout(tensor.shape), uses, new Set(places.keys()));
    if (!location) throw new Error(`internal: ${slot.name} has no place`);
    places.set(location.root, { within: slot, layout: location.layout });
  }
  return places;
}
