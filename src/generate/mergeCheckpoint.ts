import { saveModel } from '../checkpoint/checkpoint.js';
import { compile } from '../compile/index.js';
import { CheckpointError } from '../errors.js';
import { adaptedLayers, isAdapter, mergeAdapters } from '../models/adapters.js';
import { checkpointTensors } from '../models/checkpointTensors.js';
import { parameterArenas } from '../models/parameterTable.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { modelFiles } from './modelFiles.js';
import { openModel, type PretrainedOptions } from './openModel.js';

/**
 * Writes the model of a run with adapters, their corrections added to the weights, to the folder `out`, which must not be there yet. It
 * is opened like any other and needs its base no longer. Throws CheckpointError.
 */
export async function mergeCheckpoint(
  path: string,
  out: string,
  options: Omit<PretrainedOptions, 'precision'> = {},
): Promise<void> {
  const opened = await openModel(path, { ...options, precision: 'float32' });
  const { session, model, table, step = 0 } = opened;
  try {
    if (adaptedLayers(model).size === 0) {
      throw new CheckpointError(`${path} holds no adapters: it is a plain model already`, { path });
    }
    const compiled = compile(mergeAdapters(model), { arenas: parameterArenas(table) });
    const [program] = await LoadedProgram.load(session, [compiled]);
    await program.run(encodeScalars({}));
    const tensors = checkpointTensors(model, table).filter(({ parameter }) => !isAdapter(parameter));
    await saveModel(out, step, modelFiles({ ...opened, tensors }));
  } finally {
    await session.close();
  }
}
