import { DataError } from '../errors.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram, type Outputs } from '../runtime/loadedProgram.js';
import type { Session } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import {
  type Choice,
  type DecodingModel,
  type DecodingSettings,
  decodingProgram,
  type SourceShape,
} from './programs.js';
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
  /** What the rows look at, for a decoder that has sources. */
  readonly sources?: SourceRows;
}

/** Which source each row looks at. */
export interface SourceRows {
  readonly shape: SourceShape;
  /** Tokens of each source. */
  readonly lengths: readonly number[];
  /** The source of a row. */
  readonly of: (row: number) => number;
}

/** A model in a session whose programs continue rows of a KV cache; they are compiled when first needed. */
export class DecodingPrograms {
  private readonly programs = new Map<string, Promise<LoadedProgram>>();

  /** `capacity` is the longest context, in tokens. */
  constructor(
    private readonly session: Session,
    readonly model: DecodingModel,
    private readonly table: ParameterTable,
    private readonly vocabSize: number,
    readonly capacity: number,
    private readonly precision: Precision = 'float32',
  ) {}

  /** Makes room for the parameters, so that they can be written. */
  async load(): Promise<void> {
    const { capacity } = this;
    await this.program({
      choice: { kind: 'sample' },
      cache: { rows: 1, capacity },
      rows: 1,
      length: 1,
      penalizes: false,
    });
  }

  /** Makes a step; a row without new tokens gives nothing that means anything. */
  async run(step: DecodingStep): Promise<Outputs> {
    const { rows, choice, sampling, slots, scores, sources } = step;
    const cache = { rows: step.cacheRows ?? rows.length, capacity: this.capacity };
    const length = this.bucket(Math.max(1, ...rows.map(({ fresh }) => fresh.length)));
    const penalizes = looksBack(sampling);
    const settings = { choice, cache, rows: rows.length, length, penalizes, sources: sources?.shape };
    const program = await this.program(settings);
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
    if (sources) fillSources(program, rows.length, sources);
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

  private program(settings: Omit<DecodingSettings, 'vocabSize'>): Promise<LoadedProgram> {
    const key = JSON.stringify(settings);
    const known = this.programs.get(key);
    if (known) return known;
    const { model, table, vocabSize, precision } = this;
    const compiled = decodingProgram(model, table, { ...settings, vocabSize }, { precision });
    const loading = LoadedProgram.load(this.session, [compiled]).then(([program]) => program);
    this.programs.set(key, loading);
    return loading;
  }
}

function fillSources(program: LoadedProgram, rows: number, { shape, lengths, of }: SourceRows): void {
  const [sourceLengths, sourceRows] = [program.input('sourceLengths'), program.input('sourceRows')];
  for (let row = 0; row < rows; row++) {
    sourceLengths[row] = lengths[of(row)];
    sourceRows.fill(of(row), row * shape.length, (row + 1) * shape.length);
  }
}
