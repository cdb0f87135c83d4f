import type { ParameterMirror } from '../generate/parameterMirror.js';
import { initialValues } from '../models/initialize.js';
import type { ParameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import type { Session } from '../runtime/session.js';
import type { TrainingSlots } from './arenas.js';

/** Whose state is written, and where it lies. */
export interface InitialState {
  readonly model: Module;
  readonly table: ParameterTable;
  readonly slots: TrainingSlots;
  readonly mirror: ParameterMirror;
  readonly seed: number;
}

/** Writes what programs of a run find when it begins: first weights, their mirror, and what the optimizer does with each block. */
export async function writeInitialState(session: Session, state: InitialState): Promise<void> {
  const { model, table, slots, mirror, seed } = state;
  for (const { entry, values } of initialValues(model, table, seed)) {
    await session.write('parameters', entry.slot.offset, values);
  }
  await mirror.refresh();
  await session.write('optimizerState', slots.blocks.offset, table.blocks);
}
