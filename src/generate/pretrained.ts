import { openCheckpoint, readCheckpointJson } from '../checkpoint/checkpoint.js';
import { CheckpointError } from '../errors.js';
import { checkpointTensors } from '../models/checkpointTensors.js';
import { Decoder } from '../models/decoder.js';
import { EncoderDecoder } from '../models/encoderDecoder.js';
import { type ConfiguredModel, modelFromConfigJson } from '../models/huggingFace.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import { readTensors } from '../models/weights.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { Session, type SessionOptions } from '../runtime/session.js';
import { type Precision, precisions } from '../shape/dtype.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { tokenizerFromJSON } from '../text/vocabulary.js';
import type { BeamOptions, Hypothesis } from './beamSearch.js';
import { type Completion, type GenerateOptions, Generator } from './generate.js';
import { ParameterMirror } from './parameterMirror.js';
import { emptyProgram } from './programs.js';
import { type TranslateOptions, Translator } from './translate.js';

/** A checkpoint whose weights are in a session of its own. */
interface Opened<Model extends ConfiguredModel = ConfiguredModel> {
  readonly session: Session;
  readonly model: Model;
  readonly table: ParameterTable;
  readonly tokenizer: Tokenizer;
  /** Folder the weights were read from, and what the run that made them wrote beside them. */
  readonly folder: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** What matrices, activations and the KV cache are. */
  readonly precision: Precision;
}

export interface PretrainedOptions extends SessionOptions {
  /** Default: as in training. */
  precision?: Precision;
}

/**
 * Opens the best weights of a run folder, or a checkpoint folder, whose model `takes` accepts; `expected` says which those are.
 * Throws CheckpointError.
 */
async function openModel<Model extends ConfiguredModel>(
  path: string,
  options: PretrainedOptions,
  takes: (model: ConfiguredModel) => model is Model,
  expected: string,
): Promise<Opened<Model>> {
  const checkpoint = await openCheckpoint(path);
  const { folder } = checkpoint;
  const model = modelFromConfigJson(await readCheckpointJson(checkpoint, 'config.json'));
  if (!takes(model)) throw new CheckpointError(`${folder} holds a model that ${expected}`);
  const tokenizer = tokenizerFromJSON(await readCheckpointJson(checkpoint, 'tokenizer.json'));
  const { vocabSize } = model.config as { vocabSize: number };
  if (tokenizer.vocabSize !== vocabSize) {
    throw new CheckpointError(
      `${folder}: the tokenizer has ${tokenizer.vocabSize} tokens but the model ${vocabSize}; they belong to different runs`,
    );
  }
  const settings = (await readCheckpointJson(checkpoint, 'settings.json').catch(
    () => ({}),
  )) as Opened['settings'];
  const precision = options.precision ?? precisions.find((name) => name === settings.precision) ?? 'float32';
  const table = parameterTable(model);
  const session = Session.open(options);
  try {
    await LoadedProgram.load(session, [emptyProgram(table)]);
    await readTensors(`${folder}/model.safetensors`, checkpointTensors(model, table), (offset, values) =>
      session.write('parameters', offset, values),
    );
    await new ParameterMirror(session, table, precision).refresh();
  } catch (error) {
    await session.close();
    throw error;
  }
  return { session, model, table, tokenizer, folder, settings, precision };
}

/** A trained language model, ready to score and to continue texts. */
export class PretrainedModel implements Opened<Decoder> {
  readonly session: Session;
  readonly model: Decoder;
  readonly table: ParameterTable;
  readonly tokenizer: Tokenizer;
  readonly folder: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly precision: Precision;
  private readonly generator: Generator;

  private constructor(opened: Opened<Decoder>) {
    const { session, model, table, tokenizer } = opened;
    ({ folder: this.folder, settings: this.settings, precision: this.precision } = opened);
    [this.session, this.model, this.table, this.tokenizer] = [session, model, table, tokenizer];
    const context = model.maxPositionEmbeddings;
    this.generator = new Generator(session, model, table, tokenizer, context, this.precision);
  }

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(path: string, options: PretrainedOptions = {}): Promise<PretrainedModel> {
    const isDecoder = (model: ConfiguredModel) => model instanceof Decoder;
    const expected = 'continues no texts; use a gpt2 or llama checkpoint';
    return new PretrainedModel(await openModel(path, options, isDecoder, expected));
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

/** A trained encoder-decoder, ready to translate. */
export class PretrainedTranslator {
  private readonly translator: Translator;

  private constructor(private readonly opened: Opened<EncoderDecoder>) {
    const { session, model, table, tokenizer } = opened;
    this.translator = new Translator(session, model, table, tokenizer);
  }

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(path: string, options: SessionOptions = {}): Promise<PretrainedTranslator> {
    const isTranslator = (model: ConfiguredModel) => model instanceof EncoderDecoder;
    const expected = 'has no encoder and decoder; use a bart or marian checkpoint';
    const opened = await openModel(path, { ...options, precision: 'float32' }, isTranslator, expected);
    return new PretrainedTranslator(opened);
  }

  /** The best translations of each line, best first. */
  translate(lines: readonly string[], options: TranslateOptions = {}): Promise<Hypothesis[][]> {
    return this.translator.translate(lines, options);
  }

  close(): Promise<void> {
    return this.opened.session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
