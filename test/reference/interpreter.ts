import type { Graph, Node, Slot } from '#src/graph/graph.js';
import type { Attributes, Op } from '#src/graph/op.js';
import type { Tensor } from '#src/graph/tensor.js';
import { encodeScalars, type ScalarName, scalars as scalarNames } from '#src/ops/scalars.js';
import { dtypeBytes } from '#src/shape/dtype.js';
import { sizeOf } from '#src/shape/shape.js';
import { arrayOf, copyOf, type Definitions, type NumberArray, rounded, roundToBf16 } from './array.js';
import { attention } from './attention.js';
import { beam } from './beam.js';
import { embedding } from './embedding.js';
import { loss } from './loss.js';
import { matmul } from './matmul.js';
import { norm } from './norm.js';
import { optimizer } from './optimizer.js';
import { pointwise } from './pointwise.js';
import { reduce } from './reduce.js';
import { sample } from './sample.js';
import { skipGram } from './skipGram.js';
import { view, views } from './view.js';

/** What every op with a kernel means. */
export const definitions: Definitions = {
  ...pointwise,
  ...reduce,
  ...view,
  ...matmul,
  ...norm,
  ...attention,
  ...embedding,
  ...loss,
  ...optimizer,
  ...sample,
  ...skipGram,
  ...beam,
};

/** Memory that outlives a run: per arena one float64 number for every 2 bytes, of which an element uses the first. */
export class Arenas {
  private readonly contents = new Map<string, Float64Array>();

  private reach({ arena, offset, shape, dtype }: Slot): {
    content: Float64Array;
    start: number;
    step: number;
  } {
    const start = offset / 2;
    const step = dtypeBytes(dtype) / 2;
    const end = start + step * sizeOf(shape);
    let content = this.contents.get(arena) ?? new Float64Array(0);
    if (content.length < end) {
      const larger = new Float64Array(end);
      larger.set(content);
      content = larger;
      this.contents.set(arena, content);
    }
    return { content, start, step };
  }

  read(slot: Slot): NumberArray {
    const { content, start, step } = this.reach(slot);
    const values = Float64Array.from(
      { length: sizeOf(slot.shape) },
      (_, index) => content[start + step * index],
    );
    return arrayOf(slot.shape, slot.dtype, values);
  }

  write(slot: Slot, values: ArrayLike<number>): void {
    if (values.length !== sizeOf(slot.shape)) throw new Error(`${slot.name}: ${values.length} values`);
    const { content, start, step } = this.reach(slot);
    for (let index = 0; index < values.length; index++) {
      content[start + step * index] = slot.dtype === 'bf16' ? roundToBf16(values[index]) : values[index];
    }
  }
}

export interface InterpretOptions {
  readonly inputs?: Readonly<Record<string, ArrayLike<number>>>;
  /** What the run finds in its slots; stores and in-place ops change it when the run is over. */
  readonly arenas?: Arenas;
  readonly scalars?: Partial<Record<ScalarName, number>>;
}

/** A change of a slot at a place of the schedule. */
interface Write {
  readonly slot: Slot;
  readonly order: number;
  /** The op that writes, or the store. */
  readonly by: object;
  readonly values: () => NumberArray;
}

/**
 * Runs a graph in float64: what a program must compute, whatever passes it went through. A read of a slot sees the writes
 * whose order is not above that of the op that reads. Returns the outputs by name.
 */
export function interpret(graph: Graph, options: InterpretOptions = {}): Map<string, NumberArray> {
  return new Interpreter(graph, options).run();
}

/** Attributes as a kernel gets them: float32 where they are declared so. */
function storedAttributes(op: Op, attributes: Attributes): Attributes {
  const entries = Object.entries(attributes).map(([name, value]) => [
    name,
    op.attributes?.[name] === 'f32' ? Math.fround(value as number) : value,
  ]);
  return Object.fromEntries(entries);
}

const overlaps = (a: Slot, b: Slot) =>
  a.arena === b.arena &&
  a.offset < b.offset + dtypeBytes(b.dtype) * sizeOf(b.shape) &&
  b.offset < a.offset + dtypeBytes(a.dtype) * sizeOf(a.shape);

class Interpreter {
  private readonly arenas: Arenas;
  private readonly scalars: Record<ScalarName, number>;
  private readonly known = new Map<Node, readonly NumberArray[]>();
  /** What in-place ops left in their inputs, by input. */
  private readonly changed = new Map<Node, readonly (NumberArray | undefined)[]>();
  private readonly writes: readonly Write[];

  constructor(
    private readonly graph: Graph,
    private readonly options: InterpretOptions,
  ) {
    this.arenas = options.arenas ?? new Arenas();
    const values = encodeScalars(options.scalars ?? {});
    this.scalars = Object.fromEntries(scalarNames.map((name, index) => [name, values[index]])) as Record<
      ScalarName,
      number
    >;
    this.writes = [...this.storeWrites(), ...this.effectWrites()].sort((a, b) => a.order - b.order);
  }

  run(): Map<string, NumberArray> {
    const outputs = new Map<string, NumberArray>();
    for (const [name, tensor] of this.graph.outputs) {
      outputs.set(name, copyOf(this.value(tensor, Number.POSITIVE_INFINITY, this.graph)));
    }
    const results = this.writes.map(({ slot, values }) => [slot, values().data] as const);
    for (const [slot, data] of results) this.arenas.write(slot, data);
    return outputs;
  }

  private storeWrites(): Write[] {
    return this.graph.stores.map((store) => ({
      slot: store.slot,
      order: store.order,
      by: store,
      values: () => this.value(store.tensor, store.order, store),
    }));
  }

  private effectWrites(): Write[] {
    return this.graph.nodes.flatMap((node) =>
      (node.op.writes ?? []).flatMap((name) => {
        const index = node.op.inputSpecs.findIndex((spec) => spec.name === name);
        const input = node.inputs[index];
        if (!input) return [];
        const { slot } = input.node;
        if (!slot) throw new Error(`${node.op.name} writes ${name}, which is no slot`);
        const values = () => {
          this.outputs(node);
          return this.changed.get(node)![index]!;
        };
        return [{ slot, order: node.order, by: node, values }];
      }),
    );
  }

  /** The value of a tensor as something at `order` reads it. */
  private value(tensor: Tensor, order: number, reader: object): NumberArray {
    const { node } = tensor;
    if (node.slot) return this.readSlot(node.slot, order, reader);
    if (node.input) return this.readInput(node);
    const { op } = node;
    if (op.view && op.name !== 'concat') {
      const input = this.value(node.inputs[0]!, order, reader);
      return this.define(views, node, [input])[tensor.index];
    }
    return this.outputs(node)[tensor.index];
  }

  private readSlot(slot: Slot, order: number, reader: object): NumberArray {
    const content = this.arenas.read(slot);
    for (const write of this.writes) {
      if (write.order > order || write.by === reader || !overlaps(write.slot, slot)) continue;
      const data = rounded(write.values().data, slot.dtype);
      const shift = (write.slot.offset - slot.offset) / dtypeBytes(slot.dtype);
      data.forEach((value, index) => {
        const at = index + shift;
        if (at >= 0 && at < content.data.length) content.data[at] = value;
      });
    }
    return content;
  }

  private readInput({ input }: Node): NumberArray {
    const values = this.options.inputs?.[input!.name];
    if (!values) throw new Error(`input ${input!.name} is not given`);
    return arrayOf(input!.shape, input!.dtype, values);
  }

  private outputs(node: Node): readonly NumberArray[] {
    const found = this.known.get(node);
    if (found) return found;
    const inputs = node.inputs.map((input) => input && this.value(input, node.order, node));
    const writes = node.op.writes ?? [];
    const own = inputs.map((input, index) => {
      const isWritten = input && writes.includes(node.op.inputSpecs[index]?.name);
      return isWritten ? copyOf(input) : input;
    });
    const outputs = this.define(node.op.view ? views : definitions, node, own);
    this.known.set(node, outputs);
    this.changed.set(node, own);
    return outputs;
  }

  private define(
    table: Definitions,
    node: Node,
    inputs: readonly (NumberArray | undefined)[],
  ): NumberArray[] {
    const definition = table[node.op.name];
    if (!definition) throw new Error(`${node.op.name} has no definition in test/reference`);
    const outputShapes = node.outputs.map(({ shape }) => shape);
    const attributes = storedAttributes(node.op, node.attributes);
    const outputs = definition({ inputs, outputShapes, attributes, scalars: this.scalars });
    outputs.forEach(({ shape }, index) => {
      if (`${shape}` !== `${outputShapes[index]}`) {
        throw new Error(`${node.op.name}: output ${index} is [${shape}], not [${outputShapes[index]}]`);
      }
    });
    return outputs.map(({ shape, data }, index) => ({
      shape,
      data: rounded(data, node.outputs[index].dtype),
    }));
  }
}
