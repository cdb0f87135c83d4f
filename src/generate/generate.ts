import type { LanguageModel } from '../models/decoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import type { Session } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type BeamOptions, beamSearch, type Hypothesis } from './beamSearch.js';
import { DecodingPrograms } from './decodingPrograms.js';
import { type EndOptions, tokenLimit } from './ends.js';
import { type Sampling, type SamplingOptions, samplingOf } from './sampling.js';
import { keptTokens, Sequence } from './sequence.js';
import { StopStrings } from './stopping.js';

export interface GenerateOptions extends SamplingOptions, EndOptions {
  /** Ends the text before the first of these strings. Default: none. */
  stop?: readonly string[];
}

export interface GeneratedToken {
  readonly token: number;
  /** Natural logarithm of the token's probability under the model (and penalties), before temperature and any cut. */
  readonly logProbability: number;
}

/** One text of a batch. */
export interface Completion {
  readonly text: string;
  readonly tokens: readonly number[];
  /** Of each token. */
  readonly logProbabilities: readonly number[];
  /** Why it ended: at `endToken`, at a stop string, at maxNewTokens, or by the signal. */
  readonly end: 'end' | 'stop' | 'length' | 'aborted';
}

const warn = (message: string): void => process.emitWarning(message);

/** Continues texts with a model whose parameters are in a session; a training session will do. */
export class Generator {
  private readonly programs: DecodingPrograms;
  /** Whose tokens the cache holds: texts that are generated in turns each go over theirs again. */
  private holder: object | undefined;

  /** `capacity` is the longest context, in tokens; `precision` is what matrices, activations and the KV cache are. */
  constructor(
    session: Session,
    model: LanguageModel,
    table: ParameterTable,
    private readonly tokenizer: Tokenizer,
    private readonly capacity: number,
    precision: Precision = 'float32',
  ) {
    this.programs = new DecodingPrograms(session, model, table, tokenizer.vocabSize, capacity, precision);
  }

  /** Makes room for the parameters, so that they can be written. */
  load(): Promise<void> {
    return this.programs.load();
  }

  /** The text after `prompt`, piece by piece. An empty prompt starts from token 0. */
  async *generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string> {
    const decoder = this.tokenizer.decoder();
    const stop = new StopStrings(options.stop ?? []);
    const ids = Array.from(this.tokenizer.encode(prompt));
    for await (const { token } of this.generateTokens(ids, options)) {
      const { text, stopped } = stop.write(decoder.write([token]));
      if (text) yield text;
      if (stopped) return;
    }
    const { text, stopped } = stop.write(decoder.end());
    const rest = stopped ? text : text + stop.end();
    if (rest) yield rest;
  }

  /** The tokens after `prompt`, one by one. */
  async *generateTokens(
    prompt: readonly number[],
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken> {
    const maxNewTokens = tokenLimit(options);
    const sampling = samplingOf(options);
    const sequence = new Sequence(prompt);
    const notice = this.slidingNotice(options);
    for (let step = 0; step < maxNewTokens && !options.signal?.aborted; step++) {
      const [drawn] = await this.step([sequence], sequence, sampling, step, notice);
      if (drawn.token === options.endToken) return;
      sequence.ids.push(drawn.token);
      yield drawn;
    }
  }

  /** Continues several prompts at once, each in a row of its own; the texts come in the order of the prompts. */
  async generateBatch(prompts: readonly string[], options: GenerateOptions = {}): Promise<Completion[]> {
    const maxNewTokens = tokenLimit(options);
    const sampling = samplingOf(options);
    const notice = this.slidingNotice(options);
    const texts = prompts.map((prompt) => new BatchText(this.tokenizer, prompt, options));
    const holder = texts;
    for (let step = 0; step < maxNewTokens && !options.signal?.aborted; step++) {
      if (texts.every(({ end }) => end)) break;
      const sequences = texts.map((text) => (text.end ? undefined : text.sequence));
      const drawn = await this.step(sequences, holder, sampling, step, notice);
      texts.forEach((text, row) => {
        if (!text.end) text.take(drawn[row]);
      });
    }
    return texts.map((text) => text.completion(options.signal?.aborted ? 'aborted' : 'length'));
  }

  /**
   * The most probable continuations of each prompt, best first, found by beam search; all prompts share the device's steps.
   * Prompt and continuation must fit the context.
   */
  async beamSearch(prompts: readonly string[], options: BeamOptions = {}): Promise<Hypothesis[][]> {
    this.holder = undefined;
    const ids = prompts.map((prompt) => new Sequence(Array.from(this.tokenizer.encode(prompt))).ids);
    const found = await beamSearch(this.programs, ids, { onNotice: warn, ...options });
    return found.map((hypotheses) =>
      hypotheses.map((hypothesis) => ({ ...hypothesis, text: this.tokenizer.decode(hypothesis.tokens) })),
    );
  }

  private slidingNotice({ onNotice = warn }: EndOptions): (length: number) => void {
    let noticed = false;
    return (length) => {
      if (!noticed)
        onNotice(
          `the text is ${length} tokens long but the context holds ${this.capacity}: generation goes on from its ` +
            `last ${keptTokens(this.capacity)} tokens, and so again whenever the context is full`,
        );
      noticed = true;
    };
  }

  /** Draws a token for each sequence; one that is undefined has ended. */
  private async step(
    sequences: readonly (Sequence | undefined)[],
    holder: object,
    sampling: Sampling,
    step: number,
    notice: (length: number) => void,
  ): Promise<GeneratedToken[]> {
    const keeps = this.programs.model.keepsCache && this.holder === holder;
    this.holder = holder;
    const rows = sequences.map((sequence) => {
      if (!sequence) return { fresh: [], cached: 0, ids: [] };
      if (!keeps) sequence.cached = 0;
      if (sequence.slide(this.capacity)) notice(sequence.ids.length);
      const row = { fresh: sequence.fresh(), cached: sequence.cached, ids: sequence.ids };
      sequence.markCached();
      return row;
    });
    const outputs = await this.programs.run({ rows, choice: { kind: 'sample' }, sampling, step });
    const [tokens, logProbabilities] = [outputs.get<'i32'>('token'), outputs.get('logProbability')];
    return rows.map((_, row) => ({ token: tokens[row], logProbability: logProbabilities[row] }));
  }
}

/** A text of a batch while it grows. */
class BatchText {
  readonly sequence: Sequence;
  end: Completion['end'] | undefined;
  private readonly tokens: number[] = [];
  private readonly logProbabilities: number[] = [];
  private readonly decoder;
  private readonly stop: StopStrings;
  private text = '';

  constructor(
    tokenizer: Tokenizer,
    prompt: string,
    private readonly options: GenerateOptions,
  ) {
    this.sequence = new Sequence(Array.from(tokenizer.encode(prompt)));
    this.decoder = tokenizer.decoder();
    this.stop = new StopStrings(options.stop ?? []);
  }

  take({ token, logProbability }: GeneratedToken): void {
    if (token === this.options.endToken) {
      this.end = 'end';
      return;
    }
    this.sequence.ids.push(token);
    this.tokens.push(token);
    this.logProbabilities.push(logProbability);
    this.write(this.decoder.write([token]));
  }

  completion(otherwise: 'aborted' | 'length'): Completion {
    const stopped = this.end === 'stop' || this.write(this.decoder.end());
    if (!stopped) this.text += this.stop.end();
    const { text, tokens, logProbabilities } = this;
    return { text, tokens, logProbabilities, end: this.end ?? otherwise };
  }

  /** Returns whether a stop string was found. */
  private write(piece: string): boolean {
    const { text, stopped } = this.stop.write(piece);
    this.text += text;
    if (stopped) this.end = 'stop';
    return stopped;
  }
}
