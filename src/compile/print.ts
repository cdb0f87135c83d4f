import type { Graph, Node } from '../graph/graph.js';
import type { Attributes } from '../graph/op.js';
import type { Tensor } from '../graph/tensor.js';
import { formatShape } from '../shape/shape.js';
import type { MemoryPlan } from './memory.js';

/** Names tensors in the order they are met: %0, %1, ...; slots and inputs go by their own names. */
class Names {
  private readonly names = new Map<Tensor, string>();
  private next = 0;

  of(tensor: Tensor | undefined): string {
    if (!tensor) return '-';
    const known = this.names.get(tensor);
    if (known) return known;
    const { slot, input } = tensor.node;
    const name = slot ? `@${slot.name}` : input ? `$${input.name}` : `%${this.next++}`;
    this.names.set(tensor, name);
    return name;
  }
}

function attributeText(attributes: Attributes): string {
  const entries = Object.entries(attributes).filter(
    ([name, value]) => name !== 'result' && value !== 'none' && value !== false && value !== 0,
  );
  return entries.length ? ` {${entries.map(([name, value]) => `${name}: ${value}`).join(', ')}}` : '';
}

const typeText = ({ shape, dtype }: Tensor) => `${dtype === 'bf16' ? ':bf16' : ''}${formatShape(shape)}`;

function nodeText(names: Names, node: Node, operand = (tensor: Tensor) => names.of(tensor)): string {
  const inputs = [...node.inputs];
  while (inputs.length && !inputs.at(-1)) inputs.pop();
  const call = `${node.op.name}(${inputs.map((input) => (input ? operand(input) : '-')).join(', ')})`;
  const outputs = node.outputs.map((output) => `${names.of(output)}${typeText(output)}`).join(', ');
  return `${outputs ? `${outputs} = ` : ''}${call}${attributeText(node.attributes)}`;
}

/** What a node works on, wherever it lies: shapes of its inputs (T: through a permutation) and its attributes. */
export function operandsText({ inputs, attributes }: Node): string {
  const texts = inputs.map(
    (input) => input && `${input.shape.join('x') || 'scalar'}${input.node.op.name === 'permute' ? 'T' : ''}`,
  );
  return `${texts.filter(Boolean).join(' ')}${attributeText(attributes)}`.trim();
}

/** A graph as text, one node a line; sources stand where they are read. */
export function printGraph(graph: Graph): string {
  const names = new Names();
  const lines = graph.nodes.filter(({ slot, input }) => !slot && !input).map((node) => nodeText(names, node));
  for (const { tensor, slot } of graph.stores) lines.push(`store ${names.of(tensor)} -> @${slot.name}`);
  for (const [name, tensor] of graph.outputs) lines.push(`output ${name} = ${names.of(tensor)}`);
  return `${lines.join('\n')}\n`;
}

/** A scheduled program as text: each instruction with the memory of its operands. */
export function printPlan(
  order: readonly Node[],
  memory: MemoryPlan,
  isRead: (tensor: Tensor) => boolean,
): string {
  const names = new Names();
  const place = (tensor: Tensor) => {
    const { address } = memory.operand(tensor);
    return `${names.of(tensor)}@${address.arena}+${address.offset}`;
  };
  const lines = order.map((node, index) => {
    const written = node.outputs.filter(isRead).map((output) => {
      const { address } = memory.operand(output);
      return `${address.arena}+${address.offset}`;
    });
    return `${String(index).padStart(4)}  ${nodeText(names, node, place)}  -> ${written.join(', ')}`;
  });
  return `${lines.join('\n')}\n`;
}
