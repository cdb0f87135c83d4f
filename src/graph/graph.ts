import { ConfigError } from '../errors.js';
import type { DType } from '../shape/dtype.js';
import type { Shape } from '../shape/shape.js';
import { type Attributes, defineOp, inferOutputs, type Op } from './op.js';
import { Tensor } from './tensor.js';

/** Memory of one lifetime. The order is the native enumeration of native/program.h. */
export const arenas = [
  'parameters',
  'parametersBf16',
  'gradients',
  'optimizerState',
  'activations',
  'workspace',
  'kvCache',
  'io',
] as const;
export type ArenaName = (typeof arenas)[number];

/** A fixed place in an arena that outlives a run. `offset` counts bytes. */
export interface Slot {
  readonly arena: ArenaName;
  readonly offset: number;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly name: string;
}

/** An input of each run. Integers declare the range that `run` checks: minimum <= value < limit. */
export interface InputDeclaration {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly minimum?: number;
  readonly limit?: number;
}

/** One application of an op. `order` is its place in the schedule, unless a dependency says otherwise. */
export interface Node {
  readonly op: Op;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
  readonly order: number;
  /** Number of the block of the model that it belongs to (see Graph.block). */
  readonly block?: number;
  readonly slot?: Slot;
  readonly input?: InputDeclaration;
}

/** Reads a place of a persistent arena: a parameter, a gradient, optimizer state, a KV cache. */
const slotSource = defineOp('source:slot', { outputs: { value: '*' } });
/** Reads an input of the run. */
const inputSource = defineOp('source:input', { outputs: { value: '*' } });

export interface Store {
  readonly tensor: Tensor;
  readonly slot: Slot;
  readonly order: number;
}

/** Append-only nodes with the values the outside reads (`outputs`) and those kept in arenas (`stores`). */
export class Graph {
  readonly nodes: Node[] = [];
  readonly outputs = new Map<string, Tensor>();
  readonly stores: Store[] = [];
  private readonly sources = new Map<string, Tensor>();
  /** Place in the schedule of the nodes appended next; without it nodes and stores follow each other. */
  cursor: number | undefined;
  /** Block of the nodes appended next. */
  currentBlock: number | undefined;
  /** Order of the first node of the backward pass, once there is one. */
  backwardFrom: number | undefined;
  private nextOrder = 0;
  private blocks = 0;

  /** Runs `build`; what it appends is one block of a model, whose inside compile/recompute.ts may compute a second time. */
  block<T>(build: () => T): T {
    if (this.currentBlock !== undefined) return build();
    this.currentBlock = this.blocks++;
    try {
      return build();
    } finally {
      this.currentBlock = undefined;
    }
  }

  /** What is appended from now on is the backward pass. */
  beginBackward(): void {
    this.backwardFrom ??= this.nextOrder;
  }

  append(
    op: Op,
    inputs: readonly (Tensor | undefined)[],
    attributes: Attributes,
    extra: { order?: number; slot?: Slot; input?: InputDeclaration } = {},
  ): Node {
    const types =
      extra.slot || extra.input ? [extra.slot ?? extra.input!] : inferOutputs(op, inputs, attributes);
    const outputs: Tensor[] = [];
    const order = extra.order ?? this.cursor ?? this.nextOrder++;
    const { slot, input } = extra;
    const node: Node = { op, inputs, attributes, outputs, order, block: this.currentBlock, slot, input };
    types.forEach(({ shape, dtype }, index) => {
      outputs.push(new Tensor(this, node, index, shape, dtype));
    });
    this.nodes.push(node);
    return node;
  }

  /** The tensor that reads a place of a persistent arena; one node for each place. */
  readSlot(slot: Slot): Tensor {
    const key = `${slot.arena}+${slot.offset}:${slot.shape}`;
    let tensor = this.sources.get(key);
    if (!tensor) {
      tensor = this.append(slotSource, [], {}, { slot }).outputs[0];
      this.sources.set(key, tensor);
    }
    return tensor;
  }

  /** Declares an input of each run. */
  input(declaration: InputDeclaration): Tensor {
    const existing = this.sources.get(`input ${declaration.name}`);
    if (existing) throw new ConfigError(`input ${declaration.name} is declared twice`);
    const tensor = this.append(inputSource, [], {}, { input: declaration }).outputs[0];
    this.sources.set(`input ${declaration.name}`, tensor);
    return tensor;
  }

  /** Makes a value readable after each run. */
  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name)) throw new ConfigError(`output ${name} is declared twice`);
    this.outputs.set(name, tensor);
  }

  /** Keeps a value in a persistent arena. Reads of that place appended from now on see it, earlier ones do not. */
  store(tensor: Tensor, slot: Slot, order = this.nextOrder++): void {
    this.stores.push({ tensor, slot, order });
  }
}
