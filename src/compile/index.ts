import { type ArenaName, arenas, type Graph, type Node, type Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { byteSizeOf } from '../shape/bytes.js';
import type { DType, Precision } from '../shape/dtype.js';
import type { Shape } from '../shape/shape.js';
import { type Address, align } from './blocks.js';
import { chunkClassifier } from './chunk.js';
import { type ArenaNeed, encode, type IoField } from './encode.js';
import {
  fuseActivation,
  fuseActivationBackward,
  fuseAddend,
  fuseBias,
  fuseBiasGradient,
  fuseCrossEntropy,
  fuseEmbeddingBackward,
  fuseNormBackward,
  fuseResidualNorm,
} from './fuse.js';
import { insertCopies, placesOf } from './layout.js';
import { planMemory } from './memory.js';
import { lowerPrecision } from './precision.js';
import { operandsText, printGraph, printPlan } from './print.js';
import { recomputeBlocks } from './recompute.js';
import { remakeCheapValues } from './remake.js';
import { liveNodes } from './rewrite.js';
import { endOf, schedule, slotBelow } from './schedule.js';
import { composePermutes, eliminateCommonSubexpressions, transposeProducts } from './simplify.js';

export { gradients } from './autodiff.js';
export { lowerPrecision, mirrorGraph, mirrorOf } from './precision.js';
export { printGraph } from './print.js';

export interface CompileOptions {
  /** Sizes and layout hashes of persistent arenas; without an entry an arena is as large as the program reaches. */
  arenas?: Partial<Record<ArenaName, ArenaNeed>>;
  /** Logits of a classifier may take this many bytes before its rows are cut into chunks. Default 128 MiB. */
  maxLogitsBytes?: number;
  /** What matrices and activations are. Default float32. */
  precision?: Precision;
  /**
   * Keeps of each block of a model only what other blocks read, and computes the rest a second time in the backward pass: less
   * memory, about a third more arithmetic (Chen et al. 2016, arXiv:1604.06174). Default false.
   */
  recompute?: boolean;
  /**
   * Values of at least this many bytes that one pass over elements or rows makes of others that are kept anyway are made a second time
   * for the backward pass instead of kept. Infinity: none. Default 1 MiB.
   */
  remakeBytes?: number;
  /** Turns the fusions off, for tests that compare. Default true. */
  fuse?: boolean;
  /** Gives every intermediate value memory of its own, so that all can be read after a run. Default false. */
  keepIntermediates?: boolean;
}

/** Where an instruction of a program writes, in-place inputs last; `offset` counts bytes from the start of the arena, strides elements. */
export interface InstructionResult {
  /** The instruction as text. */
  readonly text: string;
  readonly op: string;
  readonly outputs: readonly {
    readonly arena: ArenaName;
    readonly offset: number;
    readonly shape: Shape;
    readonly strides: readonly number[];
    readonly dtype: DType;
  }[];
}

export interface InstructionCost {
  readonly op: string;
  /** Shapes of its inputs and its attributes, as text: the same for instructions that do the same work. */
  readonly operands: string;
  readonly flops: number;
  /** Of all its operands, each counted once: an upper bound where a kernel reads only some rows. */
  readonly bytes: number;
}

export interface Program {
  /** What `session.load` takes. */
  readonly bytes: Uint8Array;
  readonly inputs: readonly IoField[];
  readonly outputs: readonly IoField[];
  readonly inputBytes: number;
  readonly outputBytes: number;
  /** Bytes this program needs of each arena. */
  readonly memory: Readonly<Record<ArenaName, number>>;
  /** Floating-point operations of one run. */
  readonly flops: number;
  readonly instructions: number;
  /** What each instruction costs, in the order of `session.profile`. */
  readonly costs: () => InstructionCost[];
  /** The graph after all passes, and the instructions with their memory, as text. */
  readonly graphText: () => string;
  readonly planText: () => string;
  /** What each instruction writes, in their order. */
  readonly results: () => readonly InstructionResult[];
}

type Pass = (graph: Graph) => Graph;

const simplifyPasses: readonly Pass[] = [transposeProducts, composePermutes, eliminateCommonSubexpressions];
const fusionPasses = (maxLogitsBytes: number): readonly Pass[] => [
  fuseCrossEntropy,
  fuseBias,
  (graph) => chunkClassifier(graph, maxLogitsBytes),
  fuseResidualNorm,
  fuseNormBackward,
  fuseActivation,
  fuseActivationBackward,
  fuseEmbeddingBackward,
  fuseAddend,
  fuseBiasGradient,
];

/** The passes before scheduling, in order; each takes a graph and gives another. */
export const passes = (options: CompileOptions = {}): readonly Pass[] => [
  ...simplifyPasses,
  ...(options.recompute ? [recomputeBlocks] : []),
  ...((options.fuse ?? true) ? fusionPasses(options.maxLogitsBytes ?? 128 << 20) : []),
  ...(options.precision === 'bf16' ? [lowerPrecision] : []),
  (graph) => remakeCheapValues(graph, options.remakeBytes ?? 1 << 20),
];

/** Compiles a graph with its outputs and stores into one program. */
export function compile(traced: Graph, options: CompileOptions = {}): Program {
  const optimised = passes(options).reduce((graph, pass) => pass(graph), traced);
  const io = layIo(optimised);
  for (const [index, [name, tensor]] of [...optimised.outputs].entries()) {
    const { shape, dtype, offset } = io.outputs[index];
    optimised.store(
      tensor,
      { arena: 'io', offset: io.outputOffset + offset, shape, dtype, name },
      Number.POSITIVE_INFINITY,
    );
  }
  optimised.outputs.clear();
  const graph = insertCopies(optimised);
  const order = schedule(graph);
  const places = placesOf(graph);
  const inputAddress = (tensor: Tensor): Address => ({
    arena: 'io',
    offset: io.inputOffsets.get(tensor.node.input!.name)!,
  });
  const memory = planMemory(order, places, inputAddress, options.keepIntermediates);
  const readTensors = new Set<Tensor>(places.keys());
  for (const node of liveNodes(graph)) for (const input of node.inputs) if (input) readTensors.add(input);
  const isRead = (tensor: Tensor) => readTensors.has(tensor);
  const arenaNeeds = needsOf(graph, order, options, memory, io.bytes);
  const ranges = graph.nodes.flatMap(({ input, outputs }) =>
    input?.dtype === 'i32' && input.limit !== undefined
      ? [
          {
            address: inputAddress(outputs[0]),
            shape: input.shape,
            minimum: input.minimum ?? 0,
            limit: input.limit,
          },
        ]
      : [],
  );
  const bytes = encode({
    order,
    memory,
    isRead,
    arenaNeeds,
    ranges,
    ioInputBytes: io.inputBytes,
    ioOutputOffset: io.outputOffset,
    ioOutputBytes: io.outputBytes,
  });
  return {
    bytes,
    inputs: io.inputs,
    outputs: io.outputs,
    inputBytes: io.inputBytes,
    outputBytes: io.outputBytes,
    memory: Object.fromEntries(arenas.map((arena) => [arena, arenaNeeds[arena].bytes])) as Record<
      ArenaName,
      number
    >,
    flops: order.reduce((sum, node) => sum + (node.op.cost?.(node).flops ?? 0), 0),
    instructions: order.length,
    costs: () => order.map((node) => costOf(node, isRead)),
    graphText: () => printGraph(graph),
    planText: () => printPlan(order, memory, isRead),
    results: () => {
      const lines = printPlan(order, memory, isRead).trimEnd().split('\n');
      return order.map((node, index) => {
        const { op, inputs, outputs } = node;
        const changed = inputs.filter(
          (input, position) => input && op.writes?.includes(op.inputSpecs[position].name),
        ) as Tensor[];
        const written = [...outputs.filter(isRead), ...changed].map((tensor) => {
          const { address, layout } = memory.operand(tensor);
          return { ...address, shape: tensor.shape, strides: layout.strides, dtype: tensor.dtype };
        });
        return { text: lines[index].trim(), op: op.name, outputs: written };
      });
    },
  };
}

function costOf(node: Node, isRead: (tensor: Tensor) => boolean): InstructionCost {
  const operands = new Set([...node.inputs, ...node.outputs.filter(isRead)]);
  let bytes = 0;
  for (const operand of operands) if (operand) bytes += byteSizeOf(operand);
  return { op: node.op.name, operands: operandsText(node), flops: node.op.cost?.(node).flops ?? 0, bytes };
}

/** The io arena: inputs in the order they were declared, then outputs, each on a 64-byte boundary. */
function layIo(graph: Graph) {
  const inputs: IoField[] = [];
  const inputOffsets = new Map<string, number>();
  let at = 0;
  const place = (name: string, { shape, dtype }: Pick<Slot, 'shape' | 'dtype'>, base: number): IoField => {
    const field = { name, offset: at - base, shape, dtype };
    at = align(at + byteSizeOf(field));
    return field;
  };
  for (const { input } of graph.nodes) {
    if (!input) continue;
    inputOffsets.set(input.name, at);
    inputs.push(place(input.name, input, 0));
  }
  const outputOffset = at;
  const outputs = [...graph.outputs].map(([name, tensor]) => place(name, tensor, outputOffset));
  return {
    inputs,
    inputOffsets,
    outputs,
    inputBytes: outputOffset,
    outputOffset,
    outputBytes: at - outputOffset,
    bytes: at,
  };
}

function needsOf(
  graph: Graph,
  order: readonly Node[],
  options: CompileOptions,
  memory: { activationBytes: number; workspaceBytes: number },
  ioBytes: number,
): Record<ArenaName, ArenaNeed> {
  const reached = new Map<ArenaName, number>([
    ['activations', memory.activationBytes],
    ['workspace', memory.workspaceBytes],
    ['io', ioBytes],
  ]);
  const reach = (slot: Slot) => reached.set(slot.arena, Math.max(reached.get(slot.arena) ?? 0, endOf(slot)));
  for (const { slot } of graph.stores) reach(slot);
  for (const node of order)
    for (const input of node.inputs) if (input) slotBelow(input) && reach(slotBelow(input)!);
  return Object.fromEntries(
    arenas.map((arena) => [
      arena,
      options.arenas?.[arena] ?? { bytes: reached.get(arena) ?? 0, layoutHash: 0n },
    ]),
  ) as Record<ArenaName, ArenaNeed>;
}
