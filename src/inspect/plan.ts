import type { Program } from '../compile/index.js';
import { type ArenaName, arenas } from '../graph/graph.js';
import { parameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import type { Objective, ObjectiveData } from '../objectives/objective.js';
import type { Precision } from '../shape/dtype.js';
import { sizeOf } from '../shape/shape.js';
import type { ClipSettings, OptimizerSettings } from '../train/optimizer.js';
import { ProgramBuilder, type TrainingProgram } from '../train/programs.js';
import { type ParameterEstimate, parameterEstimate } from './estimate.js';

export interface PlanOptions<Model extends Module, Data extends ObjectiveData> {
  readonly model: Model;
  readonly objective: Objective<Model, Data>;
  readonly vocabSize: number;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly optimizer: OptimizerSettings;
  readonly clip: ClipSettings;
  /** Default float32. */
  readonly precision?: Precision;
  /** Whether blocks are computed a second time in the backward pass. Default false. */
  readonly recompute?: boolean;
}

export interface PlannedParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  /** Whether weight decay acts on it. */
  readonly decayed: boolean;
}

export interface TrainingPlan {
  readonly parameters: readonly PlannedParameter[];
  readonly parameterCount: number;
  readonly tokensPerStep: number;
  /** Floating-point operations a token: of the forward pass alone, and of a whole update. A multiply-add counts as two. */
  readonly flopsPerToken: { readonly forward: number; readonly training: number };
  /** Bytes of every arena that is used, padding included. */
  readonly memory: Readonly<Partial<Record<ArenaName, number>>>;
  readonly memoryTotal: number;
  /** A rule of thumb beside the exact count, for Transformers. */
  readonly estimate?: ParameterEstimate;
  /** What `recompute` would make of it: less memory for activations, more arithmetic. */
  readonly recomputed: { readonly activations: number; readonly flopsPerToken: number };
  /** Kernel calls of each program. */
  readonly instructions: Readonly<Record<string, number>>;
}

/** What training will take with batches of the largest bucket, computed from the compiled programs; nothing is allocated. */
export function planTraining<Model extends Module, Data extends ObjectiveData>(
  options: PlanOptions<Model, Data>,
): TrainingPlan {
  const { model, objective, vocabSize, batchSize, gradientAccumulationSteps, optimizer, clip } = options;
  const table = parameterTable(model);
  const builderOf = (recompute: boolean) =>
    new ProgramBuilder(table, {
      model,
      objective,
      vocabSize,
      rows: batchSize,
      optimizer,
      clip,
      precision: options.precision,
      compile: { recompute },
    });
  const builder = builderOf(options.recompute ?? false);
  const sizes = builder.buckets.map(({ rows, length, targetLength = 0 }) => rows * (length + targetLength));
  const largest = sizes.indexOf(Math.max(...sizes));
  const kinds: TrainingProgram[] =
    gradientAccumulationSteps > 1 ? ['first', 'accumulate', 'update', 'evaluate'] : ['step', 'evaluate'];
  const writesGradients = kinds.slice(0, gradientAccumulationSteps > 1 ? 2 : 1);
  const again = writesGradients.map((kind) => builderOf(true).build(kind, largest));
  const programs = new Map(kinds.map((kind) => [kind, builder.build(kind, largest)]));
  const memory = memoryOf([...programs.values()]);
  const tokensPerStep = sizes[largest] * gradientAccumulationSteps;
  const flops = (kind: TrainingProgram) => programs.get(kind)?.flops ?? 0;
  const accumulated =
    flops('first') + (gradientAccumulationSteps - 1) * flops('accumulate') + flops('update');
  const recomputedFlops =
    again[0].flops + (gradientAccumulationSteps - 1) * (again[1]?.flops ?? 0) + flops('update');
  return {
    estimate: parameterEstimate(model, table),
    recomputed: {
      activations: memoryOf(again).activations ?? 0,
      flopsPerToken: recomputedFlops / tokensPerStep,
    },
    parameters: table.entries.map(({ name, group, slot: { shape } }) => ({
      name,
      shape,
      count: sizeOf(shape),
      decayed: group === 'decayed',
    })),
    parameterCount: table.count,
    tokensPerStep,
    flopsPerToken: {
      forward: flops('evaluate') / sizes[largest],
      training: (flops('step') || accumulated) / tokensPerStep,
    },
    memory,
    memoryTotal: Object.values(memory).reduce((sum, bytes) => sum + bytes, 0),
    instructions: Object.fromEntries([...programs].map(([kind, { instructions }]) => [kind, instructions])),
  };
}

/** A session holds each arena once, as large as the program that needs most of it. */
function memoryOf(programs: readonly Program[]): Partial<Record<ArenaName, number>> {
  const largest = arenas.map(
    (arena) => [arena, Math.max(...programs.map(({ memory }) => memory[arena]))] as const,
  );
  return Object.fromEntries(largest.filter(([, bytes]) => bytes > 0));
}
