import { readCheckpointJson } from '../checkpoint/checkpoint.js';
import { CheckpointError } from '../errors.js';
import { type OpenedModel, openModel, type PretrainedOptions } from '../generate/openModel.js';
import { vocabSizeOf } from '../models/huggingFace.js';
import type { Module } from '../nn/index.js';
import { featuresFile } from '../objectives/bagOfWords.js';
import type { Objective, ObjectiveData } from '../objectives/objective.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { BagOfWords } from '../text/bagOfWords.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { evaluationPrograms } from './program.js';

/** A model of any kind in a session of its own, ready to be scored by the objective it was trained for. */
export class TrainedModel {
  private constructor(private readonly opened: OpenedModel) {}

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(path: string, options: PretrainedOptions = {}): Promise<TrainedModel> {
    return new TrainedModel(await openModel(path, options));
  }

  get tokenizer(): Tokenizer {
    return this.opened.tokenizer;
  }

  get folder(): string {
    return this.opened.folder;
  }

  get settings(): Readonly<Record<string, unknown>> {
    return this.opened.settings;
  }

  /** Tokens that the model reads: the tokenizer's, and what training appended. */
  get vocabSize(): number {
    return vocabSizeOf(this.opened.model) ?? this.tokenizer.vocabSize;
  }

  /** What makes the features of a text, where the model was trained on such. Throws CheckpointError and DataError. */
  async features(): Promise<BagOfWords | undefined> {
    if (this.settings.objective !== 'bag-of-words') return undefined;
    return BagOfWords.fromJSON(await readCheckpointJson(this.opened, featuresFile));
  }

  /** The objective's programs, one a bucket. */
  async load(
    objective: Objective<Module, ObjectiveData>,
    shape: { batchSize: number; vocabSize: number },
  ): Promise<LoadedProgram[]> {
    const { model, table, session, folder, precision } = this.opened;
    if (this.vocabSize !== shape.vocabSize) {
      throw new CheckpointError(
        `${folder}: the objective asks for a vocabulary of ${shape.vocabSize} but the model has ${this.vocabSize}; they belong to different runs`,
      );
    }
    const settings = { ...shape, precision };
    return LoadedProgram.load(session, evaluationPrograms(model as Module, table, objective, settings));
  }

  close(): Promise<void> {
    return this.opened.session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
