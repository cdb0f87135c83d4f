import type { ArenaNeed } from '../compile/encode.js';
import type { ArenaName, Slot } from '../graph/graph.js';
import { type ParameterTable, parameterArenas } from '../models/parameterTable.js';
import type { Precision } from '../shape/dtype.js';
import type { OptimizerSettings } from './optimizer.js';

const page = 4096;

/** Places of everything a training run keeps on the device between steps, besides the parameters. */
export interface TrainingSlots {
  readonly parameters: Slot;
  readonly gradients: Slot;
  /** Sums over micro-steps, behind the gradients: loss in nats, counted targets. */
  readonly lossSum: Slot;
  readonly tokenCount: Slot;
  /** int32: updates applied, skipped, skipped in a row, unused. */
  readonly counters: Slot;
  readonly blocks: Slot;
  /** Adam's two moments; SGD has one, its momentum. */
  readonly moments: readonly Slot[];
}

/** Lays out the gradients and optimizerState arenas for the trainable part of a model. */
export function trainingSlots(table: ParameterTable, optimizer: OptimizerSettings): TrainingSlots {
  const elements = table.trainableElements;
  const bytes = 4 * elements;
  const slot = (
    arena: ArenaName,
    offset: number,
    shape: number[],
    name: string,
    dtype: Slot['dtype'] = 'f32',
  ): Slot => ({
    arena,
    offset,
    shape,
    dtype,
    name,
  });
  const blocksEnd = page + Math.ceil((4 * table.blocks.length) / page) * page;
  const names = optimizer.name === 'sgd' ? ['momentum'] : ['firstMoment', 'secondMoment'];
  return {
    parameters: slot('parameters', 0, [elements], 'parameters'),
    gradients: slot('gradients', 0, [elements], 'gradients'),
    lossSum: slot('gradients', bytes, [1], 'lossSum'),
    tokenCount: slot('gradients', bytes + 64, [1], 'tokenCount'),
    counters: slot('optimizerState', 0, [4], 'counters', 'i32'),
    blocks: slot('optimizerState', page, [table.blocks.length / 2, 2], 'blocks'),
    moments: names.map((name, index) => slot('optimizerState', blocksEnd + index * bytes, [elements], name)),
  };
}

const end = ({ offset, shape }: Slot) => offset + 4 * shape.reduce((a, b) => a * b, 1);

/** Sizes of the persistent arenas of a training session; every program of it declares the same. */
export function trainingArenas(
  table: ParameterTable,
  slots: TrainingSlots,
  precision: Precision = 'float32',
): Partial<Record<ArenaName, ArenaNeed>> {
  const layoutHash = table.layoutHash;
  return {
    ...parameterArenas(table, precision),
    gradients: { bytes: slots.gradients.shape[0] * 4 + page, layoutHash },
    optimizerState: { bytes: end(slots.moments.at(-1)!), layoutHash },
  };
}
