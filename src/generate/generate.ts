import { DataError } from '../errors.js';
import type { LanguageModel } from '../models/decoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import type { Session } from '../runtime/session.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { decodingProgram } from './programs.js';
import { type Sampling, type SamplingOptions, samplingOf } from './sampling.js';

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to generate. Default 200. */
  maxNewTokens?: number;
  /** Ends generation after the current token. */
  signal?: AbortSignal;
  /** Told when the text outgrows the context and its beginning is forgotten. Default: a warning of the process. */
  onNotice?: (message: string) => void;
}

export interface GeneratedToken {
  readonly token: number;
  /** Natural logarithm of the token's probability under the model, before any cut of the distribution. */
  readonly logProbability: number;
}

/** Continues texts with a model whose parameters are in a session; a training session will do. */
export class Generator {
  private readonly programs = new Map<number, Promise<LoadedProgram>>();

  /** `capacity` is the longest context, in tokens. */
  constructor(
    private readonly session: Session,
    private readonly model: LanguageModel,
    private readonly table: ParameterTable,
    private readonly tokenizer: Tokenizer,
    private readonly capacity: number,
  ) {}

  /** Makes room for the parameters, so that they can be written. */
  async load(): Promise<void> {
    await this.program(1);
  }

  /** The text after `prompt`, piece by piece. An empty prompt starts from token 0. */
  async *generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string> {
    const decoder = this.tokenizer.decoder();
    const ids = Array.from(this.tokenizer.encode(prompt));
    for await (const { token } of this.generateTokens(ids, options)) {
      const piece = decoder.write([token]);
      if (piece) yield piece;
    }
    const rest = decoder.end();
    if (rest) yield rest;
  }

  /** The tokens after `prompt`, one by one. */
  async *generateTokens(
    prompt: readonly number[],
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken> {
    const { maxNewTokens = 200, signal, onNotice = (message) => process.emitWarning(message) } = options;
    if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 0) {
      throw new DataError(`maxNewTokens must be a whole number, but it is ${maxNewTokens}`);
    }
    const sampling = samplingOf(options);
    const ids = prompt.length ? [...prompt] : [0];
    let cached = 0; // tokens of `ids`, from `begin` on, that are in the cache
    let begin = 0;
    let noticed = false;
    for (let step = 0; step < maxNewTokens && !signal?.aborted; step++) {
      if (ids.length - begin > this.capacity) {
        if (!noticed) onNotice(this.slidingNotice(ids.length));
        noticed = true;
        // Forgetting a quarter at once: going over the rest anew is paid for by many cheap steps.
        begin = ids.length - Math.max(1, Math.ceil(0.75 * this.capacity));
        cached = 0;
      }
      const drawn = await this.step(ids, begin, cached, sampling, step);
      cached = this.model.keepsCache ? ids.length - begin : 0;
      ids.push(drawn.token);
      yield drawn;
    }
  }

  private slidingNotice(length: number): string {
    return (
      `the text is ${length} tokens long but the context holds ${this.capacity}: ` +
      `generation goes on from its last ${Math.ceil(0.75 * this.capacity)} tokens, and so again whenever the context is full`
    );
  }

  private async step(
    ids: readonly number[],
    begin: number,
    cached: number,
    sampling: Sampling,
    step: number,
  ): Promise<GeneratedToken> {
    const fresh = ids.slice(begin + cached);
    const length = this.bucket(fresh.length, cached);
    const program = await this.program(length);
    program.input('inputIds').fill(0).set(fresh);
    program.input('starts')[0] = cached;
    program.input('lengths')[0] = fresh.length;
    program.input('totals')[0] = cached + fresh.length;
    program.input('lastPlaces')[0] = fresh.length - 1;
    const outputs = await program.run(encodeScalars({ ...sampling, step }));
    return { token: outputs.get<'i32'>('token')[0], logProbability: outputs.scalar('logProbability') };
  }

  /** New tokens go through the smallest of a few programs: one token, or a power of two of at least 16. */
  private bucket(length: number, cached: number): number {
    if (length === 1) return 1;
    const power = Math.max(16, 2 ** Math.ceil(Math.log2(length)));
    return Math.min(power, this.capacity - cached);
  }

  private program(length: number): Promise<LoadedProgram> {
    const known = this.programs.get(length);
    if (known) return known;
    const compiled = decodingProgram(
      this.model,
      this.table,
      this.tokenizer.vocabSize,
      { rows: 1, capacity: this.capacity },
      length,
    );
    const loading = LoadedProgram.load(this.session, [compiled]).then(([program]) => program);
    this.programs.set(length, loading);
    return loading;
  }
}
