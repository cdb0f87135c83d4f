import { openCheckpoint, readCheckpointJson } from '../checkpoint/checkpoint.js';
import { CheckpointError } from '../errors.js';
import { ParameterMirror } from '../generate/parameterMirror.js';
import type { PretrainedOptions } from '../generate/pretrained.js';
import { checkpointTensors } from '../models/checkpointTensors.js';
import { type ConfiguredModel, modelFromConfigJson } from '../models/huggingFace.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import { readTensors } from '../models/weights.js';
import type { Module } from '../nn/index.js';
import type { Objective, ObjectiveData } from '../objectives/objective.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { Session } from '../runtime/session.js';
import { type Precision, precisions } from '../shape/dtype.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { tokenizerFromJSON } from '../text/vocabulary.js';
import { evaluationPrograms } from './program.js';

/** The tokenizer of a run or checkpoint. Throws CheckpointError. */
export const tokenizerOf = async (path: string): Promise<Tokenizer> =>
  tokenizerFromJSON(await readCheckpointJson(await openCheckpoint(path), 'tokenizer.json'));

/** A model of any kind in a session of its own, ready to be scored by the objective it was trained for. */
export class TrainedModel {
  private constructor(
    readonly session: Session,
    readonly model: ConfiguredModel,
    readonly table: ParameterTable,
    readonly tokenizer: Tokenizer,
    /** Folder the weights are in, and what the run that made them wrote beside them. */
    readonly folder: string,
    readonly settings: Readonly<Record<string, unknown>>,
    readonly precision: Precision,
  ) {}

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(path: string, options: PretrainedOptions = {}): Promise<TrainedModel> {
    const checkpoint = await openCheckpoint(path);
    const model = modelFromConfigJson(await readCheckpointJson(checkpoint, 'config.json'));
    const tokenizer = tokenizerFromJSON(await readCheckpointJson(checkpoint, 'tokenizer.json'));
    const settings = (await readCheckpointJson(checkpoint, 'settings.json').catch(() => ({}))) as Record<
      string,
      unknown
    >;
    return new TrainedModel(
      Session.open(options),
      model,
      parameterTable(model),
      tokenizer,
      checkpoint.folder,
      settings,
      options.precision ?? precisions.find((name) => name === settings.precision) ?? 'float32',
    );
  }

  /** The objective's programs, one a bucket, with the weights in place. */
  async load(
    objective: Objective<Module, ObjectiveData>,
    shape: { batchSize: number; vocabSize: number },
  ): Promise<LoadedProgram[]> {
    const { model, table, session, folder, precision } = this;
    const size = 'vocabSize' in model.config ? model.config.vocabSize : shape.vocabSize;
    if (size !== shape.vocabSize) {
      throw new CheckpointError(
        `${folder}: the tokenizer asks for a vocabulary of ${shape.vocabSize} but the model has ${size}; they belong to different runs`,
      );
    }
    const programs = await LoadedProgram.load(
      session,
      evaluationPrograms(model as Module, table, objective, { ...shape, precision }),
    );
    await readTensors(`${folder}/model.safetensors`, checkpointTensors(model, table), (offset, values) =>
      session.write('parameters', offset, values),
    );
    await new ParameterMirror(session, table, precision).refresh();
    return programs;
  }

  close(): Promise<void> {
    return this.session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
