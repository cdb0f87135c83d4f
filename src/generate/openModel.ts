import {
  adapterConfigName,
  type Checkpoint,
  hasFile,
  openCheckpoint,
  readCheckpointJson,
} from '../checkpoint/checkpoint.js';
import { CheckpointError } from '../errors.js';
import { checkpointTensors } from '../models/checkpointTensors.js';
import { type ConfiguredModel, modelFromConfigJson, vocabSizeOf } from '../models/huggingFace.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import { adaptAsSaved, fromAdapterConfigJson, readAdapterTensors } from '../models/savedAdapters.js';
import { readTensors } from '../models/weights.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { Session, type SessionOptions } from '../runtime/session.js';
import { type Precision, precisions } from '../shape/dtype.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { tokenizerFromJSON } from '../text/vocabulary.js';
import { openBase } from './baseModel.js';
import { ParameterMirror } from './parameterMirror.js';
import { emptyProgram } from './programs.js';

/** A checkpoint whose weights are in a session of its own. */
export interface OpenedModel<Model extends ConfiguredModel = ConfiguredModel> {
  readonly session: Session;
  readonly model: Model;
  readonly table: ParameterTable;
  /** As it was saved: special tokens that training appended are not in it. */
  readonly tokenizer: Tokenizer;
  /** Folder the weights were read from, and what the run that made them wrote beside them. */
  readonly folder: string;
  /** Of training, after which they were saved; undefined for a folder made elsewhere. */
  readonly step: number | undefined;
  readonly settings: Readonly<Record<string, unknown>>;
  /** What matrices, activations and the KV cache are. */
  readonly precision: Precision;
}

export interface PretrainedOptions extends SessionOptions {
  /** Default: as in training. */
  precision?: Precision;
  /** For a run with adapters: where its base is now. Default: where it was in training. */
  base?: string;
}

/** Which models somebody can use, and in words what is wrong with another. */
export interface Use<Model extends ConfiguredModel> {
  takes(model: ConfiguredModel): model is Model;
  readonly refusal: string;
}

const anyUse: Use<ConfiguredModel> = { takes: (_model): _model is ConfiguredModel => true, refusal: '' };

/**
 * The one way a checkpoint is opened: the best weights of a run folder, or a checkpoint folder; adapters together with their base.
 * Throws CheckpointError.
 */
export async function openModel(path: string, options?: PretrainedOptions): Promise<OpenedModel>;
export async function openModel<Model extends ConfiguredModel>(
  path: string,
  options: PretrainedOptions,
  use: Use<Model>,
): Promise<OpenedModel<Model>>;
export async function openModel(
  path: string,
  options: PretrainedOptions = {},
  use: Use<ConfiguredModel> = anyUse,
): Promise<OpenedModel> {
  const checkpoint = await openCheckpoint(path);
  const { folder, step } = checkpoint;
  const adapters = (await hasFile(checkpoint, adapterConfigName))
    ? fromAdapterConfigJson(await readCheckpointJson(checkpoint, adapterConfigName))
    : undefined;
  if (!adapters && options.base !== undefined) {
    throw new CheckpointError(`${folder} holds no adapters and so has no base; leave base out (--base)`);
  }
  const base = adapters && (await openBase(adapters.base, options.base));
  const model = modelFromConfigJson(await readJsonOf(checkpoint, base, 'config.json'));
  if (!use.takes(model)) throw new CheckpointError(`${folder} holds a model that ${use.refusal}`);
  const tokenizer = tokenizerFromJSON(await readJsonOf(checkpoint, base, 'tokenizer.json'));
  const vocabSize = vocabSizeOf(model) ?? tokenizer.vocabSize;
  if (tokenizer.vocabSize > vocabSize) {
    throw new CheckpointError(
      `${folder}: the tokenizer has ${tokenizer.vocabSize} tokens but the model ${vocabSize}; they belong to different runs`,
    );
  }
  const settings = (await readCheckpointJson(checkpoint, 'settings.json').catch(
    () => ({}),
  )) as OpenedModel['settings'];
  const precision = options.precision ?? precisions.find((name) => name === settings.precision) ?? 'float32';
  const adapted = adapters && (await adaptAsSaved(model, folder, adapters.options));
  const table = parameterTable(model);
  const tensors = checkpointTensors(model, table);
  const session = Session.open(options);
  const put = (offset: number, values: ArrayBufferView) => session.write('parameters', offset, values);
  try {
    await LoadedProgram.load(session, [emptyProgram(table)]);
    const isOwn = ({ name }: { name: string }) => !adapted || adapted.has(name);
    if (base) {
      await readTensors(
        base.folder,
        tensors.filter((tensor) => !isOwn(tensor)),
        put,
      );
      await readAdapterTensors(folder, tensors.filter(isOwn), put);
    } else await readTensors(folder, tensors, put);
    await new ParameterMirror(session, table, precision).refresh();
  } catch (error) {
    await session.close();
    throw error;
  }
  return { session, model, table, tokenizer, folder, step, settings, precision };
}

/** A file of a checkpoint with adapters, or of their base where it has none. */
const readJsonOf = async (
  checkpoint: Checkpoint,
  base: Checkpoint | undefined,
  name: string,
): Promise<unknown> =>
  readCheckpointJson(base && !(await hasFile(checkpoint, name)) ? base : checkpoint, name);
