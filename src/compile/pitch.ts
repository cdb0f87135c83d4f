import type { Node } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { type DType, dtypeBytes } from '../shape/dtype.js';
import { contiguousLayout, type Layout, satisfies } from '../shape/layout.js';
import { contiguousStrides, type Shape, sizeOf } from '../shape/shape.js';
import { locate, type Place } from './layout.js';

/** What one load of a tensor core's operands takes, and what is fetched together, in bytes. */
const unit = 16;
const line = 64;

/** Where rows of `shape` begin on boundaries of `unit` when they do not by themselves: elements from one to the next. */
function pitchFor(shape: Shape, dtype: DType): number | undefined {
  const row = (shape.at(-1) ?? 1) * dtypeBytes(dtype);
  if (row <= unit || row % unit === 0 || sizeOf(shape.slice(0, -1)) <= 1) return undefined;
  const to = row >= 8 * line ? line : unit; // so that little is lost
  return (Math.ceil(row / to) * to) / dtypeBytes(dtype);
}

/** Row-major, with `pitch` elements from one row to the next; without it contiguous. */
export function pitchedLayout(shape: Shape, pitch: number | undefined): Layout {
  return pitch === undefined
    ? contiguousLayout(shape)
    : { offset: 0, strides: contiguousStrides([...shape.slice(0, -1), pitch]) };
}

/**
 * Roots in the activations arena whose rows lie apart, with their pitch. Logits over 50,257 tokens and their gradient are what it
 * is for: rows of an odd number of bytes cannot be copied 16 bytes at a time, and a product over them takes a kernel
 * several times as slow. A root is chosen where its kernel and all its readers take rows at any pitch, and only together with
 * what may share its memory.
 */
export function pitchesOf(
  order: readonly Node[],
  places: ReadonlyMap<Tensor, Place>,
): ReadonlyMap<Tensor, number> {
  const readers = new Map<Tensor, Set<Node>>();
  const read = (node: Node) => {
    for (const input of node.inputs) {
      if (!input) continue;
      const known = readers.get(input);
      if (known) known.add(node);
      else readers.set(input, new Set([node]));
      if (!known && input.node.op.view) read(input.node);
    }
  };
  for (const node of order) read(node);
  const takes = (tensor: Tensor, layout: Layout): boolean =>
    [...(readers.get(tensor) ?? [])].every(({ op, inputs, outputs, attributes }) => {
      if (!op.view) {
        return inputs.every(
          (input, index) =>
            input !== tensor || satisfies(layout, tensor.shape, op.inputSpecs[index].regularity),
        );
      }
      if (op.name === 'concat') return false;
      return outputs.every((output) => {
        if (!readers.has(output)) return true;
        const seen = op.view!(layout, tensor.shape, output.shape, attributes, output.index);
        return seen !== undefined && takes(output, seen);
      });
    });

  const pitches = new Map<Tensor, number>();
  for (const { op, outputs } of order)
    for (const root of outputs) {
      const pitch = pitchFor(root.shape, root.dtype);
      if (pitch === undefined || places.has(root) || !readers.has(root)) continue;
      const layout = pitchedLayout(root.shape, pitch);
      if (satisfies(layout, root.shape, op.outputSpecs[root.index].regularity) && takes(root, layout))
        pitches.set(root, pitch);
    }
  for (let before = -1; before !== pitches.size; ) {
    before = pitches.size;
    for (const node of order)
      for (const pair of sharing(node, readers))
        if (!pair.every((root) => pitches.has(root))) for (const root of pair) pitches.delete(root);
  }
  return pitches;
}

/** Pairs of roots of a size of which the second may take over the first one's memory at `node`. */
function* sharing({ op, inputs, outputs }: Node, readers: ReadonlyMap<Tensor, unknown>): Generator<Tensor[]> {
  for (const [outputName, inputNames] of Object.entries(op.reuse ?? {})) {
    const output = outputs[op.outputSpecs.findIndex(({ name }) => name === outputName)];
    if (!readers.has(output)) continue;
    for (const name of inputNames) {
      const input = inputs[op.inputSpecs.findIndex((spec) => spec.name === name)];
      const root = input && locate(input)!.root;
      if (root && !root.node.slot && !root.node.input && sizeOf(root.shape) === sizeOf(output.shape))
        yield [root, output];
    }
  }
}
