import { ConfigError } from '../errors.js';
import type { EncoderDecoder } from '../models/encoderDecoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import type { Session } from '../runtime/session.js';
import type { SpecialTokenName } from '../text/specialTokens.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type BeamOptions, beamSearch, type Hypothesis } from './beamSearch.js';
import { DecodingPrograms } from './decodingPrograms.js';
import { type DecodingModel, type SourceShape, sourceProgram } from './programs.js';

export interface TranslateOptions extends BeamOptions {
  /** Lines translated at once. Default 32. */
  batchSize?: number;
}

/** The decoder of an encoder-decoder, as decoding sees it. */
const decoderOf = (model: EncoderDecoder): DecodingModel => ({
  keepsCache: model.keepsCache,
  hidden: ({ inputIds }, sources) => model.decode({ decoderInputIds: inputIds, sources: sources! }),
  logits: (hidden) => model.logits(hidden),
});

/** Tokens of a source in its batch's program: a power of two, so that a few programs serve all lengths. */
const bucket = (length: number, limit: number): number =>
  Math.min(limit, Math.max(16, 2 ** Math.ceil(Math.log2(length))));

/** Says lines in other words with an encoder-decoder whose parameters are in a session. */
export class Translator {
  private readonly programs: DecodingPrograms;
  private readonly encoders = new Map<string, Promise<LoadedProgram>>();
  private readonly bos: number;
  private readonly eos: number;

  /** @throws ConfigError where the tokenizers lack the tokens for begin and end */
  constructor(
    private readonly session: Session,
    private readonly model: EncoderDecoder,
    private readonly table: ParameterTable,
    private readonly source: Tokenizer,
    private readonly target: Tokenizer = source,
  ) {
    const { maxPositionEmbeddings } = model;
    this.programs = new DecodingPrograms(
      session,
      decoderOf(model),
      table,
      target.vocabSize,
      maxPositionEmbeddings,
    );
    this.bos = special(target, 'bos');
    this.eos = special(target, 'eos');
    special(source, 'eos');
  }

  /** Makes room for the parameters, so that they can be written. */
  async load(): Promise<void> {
    await this.encoder(this.shapeOf(1, 1));
  }

  /**
   * The best translations of each line, best first. Lines of like length share the device's steps. A line longer than the
   * model's context is cut, which `onNotice` is told. Without maxNewTokens a translation may be twice as long as the longest
   * line of its batch, and 16 tokens more.
   */
  async translate(lines: readonly string[], options: TranslateOptions = {}): Promise<Hypothesis[][]> {
    const { batchSize = 32, signal, onNotice = (message: string) => process.emitWarning(message) } = options;
    if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
      throw new ConfigError(`batchSize must be a whole number of at least 1, but it is ${batchSize}`);
    }
    const sources = lines.map((line, index) => this.encodeLine(line, index, onNotice));
    const order = sources
      .map((_, index) => index)
      .sort((a, b) => sources[b].length - sources[a].length || a - b);
    const found: Hypothesis[][] = lines.map(() => []);
    for (let begin = 0; begin < order.length && !signal?.aborted; begin += batchSize) {
      const batch = order.slice(begin, begin + batchSize);
      const hypotheses = await this.translateBatch(
        batch.map((index) => sources[index]),
        options,
      );
      batch.forEach((index, row) => {
        found[index] = hypotheses[row];
      });
    }
    return found;
  }

  private encodeLine(line: string, index: number, onNotice: (message: string) => void): number[] {
    const limit = this.model.maxPositionEmbeddings - 1;
    const ids = Array.from(this.source.encode(line));
    if (ids.length > limit)
      onNotice(`line ${index + 1} has ${ids.length} tokens and is cut to the ${limit} that fit the context`);
    return [...ids.slice(0, limit), special(this.source, 'eos')];
  }

  private async translateBatch(
    sources: readonly (readonly number[])[],
    options: TranslateOptions,
  ): Promise<Hypothesis[][]> {
    const longest = Math.max(...sources.map(({ length }) => length));
    const shape = this.shapeOf(sources.length, longest);
    const program = await this.encoder(shape);
    const [inputIds, lengths] = [program.input('inputIds').fill(0), program.input('lengths')];
    sources.forEach((ids, row) => {
      inputIds.set(ids, row * shape.length);
      lengths[row] = ids.length;
    });
    await program.run(encodeScalars({}));
    const room = this.model.maxPositionEmbeddings;
    const found = await beamSearch(
      this.programs,
      sources.map(() => [this.bos]),
      { endToken: this.eos, maxNewTokens: Math.min(2 * longest + 16, room), ...options },
      { shape, lengths: sources.map(({ length }) => length) },
    );
    return found.map((hypotheses) =>
      hypotheses.map((hypothesis) => ({ ...hypothesis, text: this.target.decode(hypothesis.tokens) })),
    );
  }

  private shapeOf(rows: number, length: number): SourceShape {
    const { numDecoderLayers: layers, numKeyValueHeads: heads, headDim } = this.model.config;
    return { rows, length: bucket(length, this.model.maxPositionEmbeddings), layers, heads, headDim };
  }

  private encoder(shape: SourceShape): Promise<LoadedProgram> {
    const key = JSON.stringify(shape);
    const known = this.encoders.get(key);
    if (known) return known;
    const compiled = sourceProgram(this.model, this.table, shape, this.source.vocabSize);
    const loading = LoadedProgram.load(this.session, [compiled]).then(([program]) => program);
    this.encoders.set(key, loading);
    return loading;
  }
}

function special(tokenizer: Tokenizer, name: SpecialTokenName): number {
  const id = tokenizer.specialTokens[name];
  if (id !== undefined) return id;
  throw new ConfigError(`the tokenizer has no token for ${name}; train one with special tokens bos and eos`);
}
