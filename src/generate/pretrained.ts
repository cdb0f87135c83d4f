import { openCheckpoint, readCheckpointJson } from '../checkpoint/checkpoint.js';
import { CheckpointError } from '../errors.js';
import { checkpointTensors } from '../models/checkpointTensors.js';
import { Decoder } from '../models/decoder.js';
import { modelFromConfigJson } from '../models/huggingFace.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import { readTensors } from '../models/weights.js';
import { Session, type SessionOptions } from '../runtime/session.js';
import { type Precision, precisions } from '../shape/dtype.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { tokenizerFromJSON } from '../text/vocabulary.js';
import type { BeamOptions, Hypothesis } from './beamSearch.js';
import { type Completion, type GenerateOptions, Generator } from './generate.js';
import { ParameterMirror } from './parameterMirror.js';

export interface PretrainedOptions extends SessionOptions {
  /** What matrices, activations and the KV cache are. Default: as in training. */
  precision?: Precision;
}

/** A trained model in a session of its own, ready to score and to continue texts. */
export class PretrainedModel {
  private readonly generator: Generator;

  private constructor(
    readonly session: Session,
    readonly model: Decoder,
    readonly table: ParameterTable,
    readonly tokenizer: Tokenizer,
    /** Folder the weights were read from, and what the run that made them wrote beside them. */
    readonly folder: string,
    readonly settings: Readonly<Record<string, unknown>>,
    /** What matrices, activations and the KV cache are. */
    readonly precision: Precision,
  ) {
    const { maxPositionEmbeddings } = model;
    this.generator = new Generator(session, model, table, tokenizer, maxPositionEmbeddings, precision);
  }

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(path: string, options: PretrainedOptions = {}): Promise<PretrainedModel> {
    const checkpoint = await openCheckpoint(path);
    const { folder } = checkpoint;
    const model = modelFromConfigJson(await readCheckpointJson(checkpoint, 'config.json'));
    if (!(model instanceof Decoder)) {
      throw new CheckpointError(
        `${folder} holds a model that continues no texts; use a gpt2 or llama checkpoint`,
      );
    }
    const { config } = model;
    const tokenizer = tokenizerFromJSON(await readCheckpointJson(checkpoint, 'tokenizer.json'));
    if (tokenizer.vocabSize !== config.vocabSize) {
      throw new CheckpointError(
        `${folder}: the tokenizer has ${tokenizer.vocabSize} tokens but the model ${config.vocabSize}; they belong to different runs`,
      );
    }
    const settings = (await readCheckpointJson(checkpoint, 'settings.json').catch(() => ({}))) as Record<
      string,
      unknown
    >;
    const precision =
      options.precision ?? precisions.find((name) => name === settings.precision) ?? 'float32';
    const table = parameterTable(model);
    const session = Session.open(options);
    const pretrained = new PretrainedModel(session, model, table, tokenizer, folder, settings, precision);
    try {
      await pretrained.generator.load();
      await readTensors(`${folder}/model.safetensors`, checkpointTensors(model, table), (offset, values) =>
        session.write('parameters', offset, values),
      );
      await new ParameterMirror(session, table, precision).refresh();
    } catch (error) {
      await session.close();
      throw error;
    }
    return pretrained;
  }

  /** Continues `prompt`, piece by piece. */
  generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string> {
    return this.generator.generate(prompt, options);
  }

  /** Continues several prompts at once. */
  generateBatch(prompts: readonly string[], options: GenerateOptions = {}): Promise<Completion[]> {
    return this.generator.generateBatch(prompts, options);
  }

  /** The most probable continuations of each prompt, best first. */
  beamSearch(prompts: readonly string[], options: BeamOptions = {}): Promise<Hypothesis[][]> {
    return this.generator.beamSearch(prompts, options);
  }

  close(): Promise<void> {
    return this.session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
