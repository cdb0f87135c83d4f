import { DataError } from '../errors.js';
import type { LanguageModel } from '../models/decoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram, type Outputs } from '../runtime/loadedProgram.js';
import type { Session } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import { type CacheShape, type Choice, decodingProgram } from './programs.js';
import { looksBack, type Sampling } from './sampling.js';

/** Rows that a step continues. */
export interface DecodingRow {
  /** Tokens that are new to the cache; none where the row takes no part. */
  readonly fresh: readonly number[];
  /** Tokens of the row in the cache already. */
  readonly cached: number;
  /** All tokens so far, for penalties of what was said. */
  readonly ids: readonly number[];
}

/** One step of decoding. */
export interface DecodingStep {
  readonly rows: readonly DecodingRow[];
  readonly choice: Choice;
  readonly sampling: Sampling;
  readonly step: number;
  /** Rows of the cache; default: as many as there are rows. */
  readonly cacheRows?: number;
  /** With beams: [rows, capacity], and the log-probability of each row's beam. */
  readonly slots?: Int32Array;
  readonly scores?: Float32Array;
}

/** A model in a session whose programs continue rows of a KV cache; they are compiled when first needed. */
export class DecodingPrograms {
  private readonly programs = new Map<string, Promise<LoadedProgram>>();

  /** `capacity` is the longest context, in tokens. */
  constructor(
    private readonly session: Session,
    readonly model: LanguageModel,
    private readonly table: ParameterTable,
    private readonly vocabSize: number,
    readonly capacity: number,
    private readonly precision: Precision = 'float32',
  ) {}

  /** Makes room for the parameters, so that they can be written. */
  async load(): Promise<void> {
    await this.program({ kind: 'sample' }, { rows: 1, capacity: this.capacity }, 1, 1, false);
  }

  /** Makes a step; a row without new tokens gives nothing that means anything. */
  async run(step: DecodingStep): Promise<Outputs> {
    const { rows, choice, sampling, slots, scores } = step;
    const cache = { rows: step.cacheRows ?? rows.length, capacity: this.capacity };
    const length = this.bucket(Math.max(1, ...rows.map(({ fresh }) => fresh.length)));
    const penalizes = looksBack(sampling);
    const program = await this.program(choice, cache, rows.length, length, penalizes);
    const [inputIds, starts, lengths] = [
      program.input('inputIds').fill(0),
      program.input('starts'),
      program.input('lengths'),
    ];
    const [totals, lastPlaces] = [program.input('totals'), program.input('lastPlaces')];
    rows.forEach(({ fresh, cached }, row) => {
      inputIds.set(fresh, row * length);
      starts[row] = Math.min(cached, this.capacity - 1);
      lengths[row] = fresh.length;
      totals[row] = cached + fresh.length;
      lastPlaces[row] = row * length + Math.max(0, fresh.length - 1);
    });
    if (penalizes) this.fillHistory(program, rows);
    if (slots) program.input('slots').set(slots);
    if (scores) program.input<'f32'>('scores').set(scores);
    return program.run(encodeScalars({ ...sampling, step: step.step }));
  }

  /** The last tokens of each row, as many as the context holds. */
  private fillHistory(program: LoadedProgram, rows: readonly DecodingRow[]): void {
    const history = program.input('history');
    const lengths = program.input('historyLengths');
    rows.forEach(({ ids }, row) => {
      const said = ids.slice(-this.capacity);
      history.set(said, row * this.capacity);
      lengths[row] = said.length;
    });
  }

  /** New tokens go through the smallest of a few programs: one token, or a power of two of at least 16. */
  private bucket(length: number): number {
    if (length === 1) return 1;
    if (length > this.capacity) {
      throw new DataError(`${length} tokens are more than the context of ${this.capacity}; give fewer`);
    }
    return Math.min(Math.max(16, 2 ** Math.ceil(Math.log2(length))), this.capacity);
  }

  private program(
    choice: Choice,
    cache: CacheShape,
    rows: number,
    length: number,
    penalizes: boolean,
  ): Promise<LoadedProgram> {
    const { vocabSize } = this;
    const settings = { vocabSize, cache, rows, length, choice, penalizes };
    const key = JSON.stringify(settings);
    const known = this.programs.get(key);
    if (known) return known;
    const compiled = decodingProgram(this.model, this.table, settings, { precision: this.precision });
    const loading = LoadedProgram.load(this.session, [compiled]).then(([program]) => program);
    this.programs.set(key, loading);
    return loading;
  }
}
