// A run's task and model, the model that it starts from, and the parts of it that are trained.
import { openCheckpoint, readCheckpointJson } from '../checkpoint/checkpoint.js';
import { openSafetensors } from '../checkpoint/safetensors.js';
import type { WorkOptions } from '../data/progress.js';
import { ConfigError } from '../errors.js';
import { addAdapters } from '../models/adapters.js';
import { checkpointTensors } from '../models/checkpointTensors.js';
import type { AnyTransformerConfig } from '../models/config.js';
import { modelEntries } from '../models/configSchema.js';
import { decayLearningRates, freeze } from '../models/fineTuning.js';
import { fromConfigJson } from '../models/huggingFace.js';
import { parameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import { tokenizerFromJSON } from '../text/vocabulary.js';
import type { TrainSettings } from './settings.js';
import { openTask, type Task } from './tasks.js';

/** A model keeps its sizes from run to run; how much is dropped belongs to the run. */
const ofTheRun = ['dropout', 'embdPdrop', 'residPdrop', 'attnPdrop'];

/** Settings whose model is that of a base, but for what was `given`. */
function withModelOf(
  settings: TrainSettings,
  base: AnyTransformerConfig,
  given: ReadonlySet<string>,
): TrainSettings {
  const values = base as unknown as Readonly<Record<string, unknown>>;
  const taken = Object.keys(modelEntries).filter(
    (name) => name in values && !given.has(name) && !ofTheRun.includes(name),
  );
  return { ...settings, ...Object.fromEntries(taken.map((name) => [name, values[name]])) };
}

/** Paths of the parameters whose tensors a folder's weights have not, or in other shapes: they start anew. Throws CheckpointError. */
async function parametersMissingIn(folder: string, model: Module): Promise<string[]> {
  const file = await openSafetensors(folder);
  await file.close();
  const missing = checkpointTensors(model, parameterTable(model)).filter(
    ({ name, shape }) => String(file.tensors.get(name)?.shape) !== String(shape),
  );
  return [...new Set(missing.map(({ parameter }) => parameter))];
}

/**
 * Adapters, layer-wise learning rates and frozen parts as the settings say, before the model is given to a Trainer. Beside adapters the
 * parameters `anew` are trained, which no base holds. Throws ConfigError.
 */
function fineTune(model: Module, settings: TrainSettings, anew: readonly string[] = []): void {
  const { loraRank: rank, loraAlpha: alpha, loraDropout: dropout, loraTargets } = settings;
  if (rank > 0) addAdapters(model, { rank, alpha, dropout, targets: loraTargets?.split(',') }, anew);
  else {
    const asked = {
      '--lora-alpha': alpha,
      '--lora-dropout': dropout || undefined,
      '--lora-targets': loraTargets,
    };
    const flag = Object.entries(asked).find(([, value]) => value !== undefined)?.[0];
    if (flag) throw new ConfigError(`${flag} needs adapters; ask for them with --lora-rank`);
  }
  if (settings.layerDecay < 1) decayLearningRates(model, settings.layerDecay);
  if (settings.freeze !== undefined) freeze(model, settings.freeze.split(','));
}

/** What a run is about, and its model ready for a Trainer. */
export interface OpenedRun {
  /** With what follows from a base filled in. */
  readonly settings: TrainSettings;
  readonly task: Task;
  readonly model: Module;
}

/**
 * Opens the data that settings name and makes the model, from the tokenizer and with the sizes of the base in `initFrom` where there is
 * one; `given` are the names of the settings that were not left to their defaults. Throws ConfigError, DataError and CheckpointError.
 */
export async function openRun(
  asked: TrainSettings,
  given: ReadonlySet<string>,
  work: WorkOptions = {},
): Promise<OpenedRun> {
  const { initFrom, loraRank } = asked;
  if (initFrom === undefined) {
    if (loraRank > 0) throw new ConfigError('--lora-rank adapts a trained model; name it with --init-from');
    const task = await openTask(asked, work);
    const model = task.makeModel();
    fineTune(model, asked);
    return { settings: asked, task, model };
  }
  const base = await openCheckpoint(initFrom);
  const config = fromConfigJson(await readCheckpointJson(base, 'config.json'));
  const tokenizer = tokenizerFromJSON(await readCheckpointJson(base, 'tokenizer.json'));
  const settings = withModelOf(asked, config, given);
  const task = await openTask(settings, { ...work, tokenizer, vocabSize: config.vocabSize });
  const model = task.makeModel();
  fineTune(model, settings, await parametersMissingIn(base.folder, model));
  return { settings, task, model };
}
