import { Decoder } from '../models/decoder.js';
import { EncoderDecoder } from '../models/encoderDecoder.js';
import type { ConfiguredModel } from '../models/huggingFace.js';
import { completionEnd } from '../objectives/completion.js';
import type { Session } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import { extendTokenizer, modelTokens } from '../text/appendedTokens.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { BeamOptions, Hypothesis } from './beamSearch.js';
import type { EndOptions } from './ends.js';
import { type Completion, type GenerateOptions, Generator } from './generate.js';
import { type OpenedModel, openModel, type PretrainedOptions, type Use } from './openModel.js';
import { type TranslateOptions, Translator } from './translate.js';

const continuing: Use<Decoder> = {
  takes: (model: ConfiguredModel) => model instanceof Decoder,
  refusal: 'continues no texts; use a gpt2 or llama checkpoint',
};
const translating: Use<EncoderDecoder> = {
  takes: (model: ConfiguredModel) => model instanceof EncoderDecoder,
  refusal: 'has no encoder and decoder; use a bart or marian checkpoint',
};

/** A trained language model, ready to score and to continue texts. */
export class PretrainedModel {
  readonly model: Decoder;
  /** With the ids that training appended, if any. */
  readonly tokenizer: Tokenizer;
  /** Folder the weights were read from, and what the run that made them wrote beside them. */
  readonly folder: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** What matrices, activations and the KV cache are. */
  readonly precision: Precision;
  private readonly session: Session;
  private readonly generator: Generator;
  /** A model that was trained on completions ends them. */
  private readonly ends: Pick<EndOptions, 'endToken'>;

  private constructor({
    session,
    model,
    table,
    tokenizer,
    folder,
    settings,
    precision,
  }: OpenedModel<Decoder>) {
    [this.session, this.model, this.folder] = [session, model, folder];
    [this.settings, this.precision] = [settings, precision];
    this.tokenizer = extendTokenizer(tokenizer, modelTokens.decoder, model.config.vocabSize);
    this.ends = settings.objective === 'completion' ? { endToken: completionEnd(tokenizer) } : {};
    const context = model.maxPositionEmbeddings;
    this.generator = new Generator(session, model, table, this.tokenizer, context, precision);
  }

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(path: string, options: PretrainedOptions = {}): Promise<PretrainedModel> {
    return new PretrainedModel(await openModel(path, options, continuing));
  }

  /** Continues `prompt`, piece by piece. */
  generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string> {
    return this.generator.generate(prompt, { ...this.ends, ...options });
  }

  /** Continues several prompts at once. */
  generateBatch(prompts: readonly string[], options: GenerateOptions = {}): Promise<Completion[]> {
    return this.generator.generateBatch(prompts, { ...this.ends, ...options });
  }

  /** The most probable continuations of each prompt, best first. */
  beamSearch(prompts: readonly string[], options: BeamOptions = {}): Promise<Hypothesis[][]> {
    return this.generator.beamSearch(prompts, { ...this.ends, ...options });
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

  private constructor(private readonly opened: OpenedModel<EncoderDecoder>) {
    const { session, model, table } = opened;
    const tokenizer = extendTokenizer(opened.tokenizer, modelTokens.encoderDecoder, model.config.vocabSize);
    this.translator = new Translator(session, model, table, tokenizer);
  }

  /** Opens the best weights of a run folder, or a checkpoint folder. Throws CheckpointError. */
  static async open(
    path: string,
    options: Omit<PretrainedOptions, 'precision'> = {},
  ): Promise<PretrainedTranslator> {
    return new PretrainedTranslator(await openModel(path, { ...options, precision: 'float32' }, translating));
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
