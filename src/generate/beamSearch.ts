import { ConfigError } from '../errors.js';
import { BeamGroup, type BeamSettings, beamSettings, candidatesOf, type ScoredTokens } from './beams.js';
import type { DecodingPrograms, DecodingRow, SourceRows } from './decodingPrograms.js';
import { type EndOptions, tokenLimit } from './ends.js';
import { type Sampling, type SamplingOptions, samplingOf } from './sampling.js';

export interface BeamOptions
  extends Partial<Omit<BeamSettings, 'maxNewTokens' | 'endToken'>>,
    Pick<SamplingOptions, 'repetitionPenalty' | 'noRepeatNgramSize'>,
    EndOptions {}

export interface Hypothesis extends ScoredTokens {
  readonly text: string;
}

/**
 * Beam search over the model's log-probabilities (Graves 2012, arXiv:1211.3711; length penalty as a power, Wu et al. 2016,
 * arXiv:1609.08144, section 7). Each step is one run of the device: it scores all beams of all prompts and gives the best
 * continuations of each; only those come back, and the KV cache is reordered by a table of rows. With `sources`, prompt b is
 * the beginning of what is said about source b.
 */
export async function beamSearch(
  programs: DecodingPrograms,
  prompts: readonly (readonly number[])[],
  options: BeamOptions,
  sources?: Omit<SourceRows, 'of'>,
): Promise<ScoredTokens[][]> {
  if (prompts.length === 0) return [];
  const settings = beamSettings(options, roomFor(prompts, programs.capacity, options));
  const { repetitionPenalty, noRepeatNgramSize } = options;
  const sampling = samplingOf({ repetitionPenalty, noRepeatNgramSize });
  const search = new Search(programs, prompts, settings, sampling, sources);
  for (let step = 0; !search.done && !options.signal?.aborted; step++) await search.step(step);
  return search.groups.map((group) => group.best());
}

/** Tokens that can be added to the longest prompt. */
function roomFor(prompts: readonly (readonly number[])[], capacity: number, options: EndOptions): number {
  const longest = Math.max(...prompts.map(({ length }) => length));
  const wanted = tokenLimit(options);
  // The last token need not be seen by the model.
  const room = capacity - longest + 1;
  if (room < 1) {
    throw new ConfigError(
      `a prompt has ${longest} tokens but the context holds ${capacity}; beam search needs the whole prompt, give a shorter one`,
      { longest, capacity },
    );
  }
  if (room < wanted) {
    options.onNotice?.(
      `the context of ${capacity} tokens leaves room for ${room} after a prompt of ${longest}: beam search ends there`,
    );
  }
  return Math.min(room, wanted);
}

class Search {
  readonly groups: readonly BeamGroup[];
  /** [beams * groups, capacity]: the row of the cache with each token of a beam; beam k of group b is row k * groups + b. */
  private slots: Int32Array;

  constructor(
    private readonly programs: DecodingPrograms,
    private readonly prompts: readonly (readonly number[])[],
    private readonly settings: BeamSettings,
    private readonly sampling: Sampling,
    private readonly sources?: Omit<SourceRows, 'of'>,
  ) {
    this.groups = prompts.map(() => new BeamGroup(settings));
    // All beams find the prompt where the first one's row is.
    const { capacity } = programs;
    this.slots = Int32Array.from(
      { length: this.rows * capacity },
      (_, index) => Math.floor(index / capacity) % prompts.length,
    );
  }

  get done(): boolean {
    return this.settings.maxNewTokens === 0 || this.groups.every(({ done }) => done);
  }

  private get rows(): number {
    return this.settings.numBeams * this.prompts.length;
  }

  /** The first step goes over the prompts, one row each; the others over the last token of every beam. */
  async step(step: number): Promise<void> {
    const { numBeams } = this.settings;
    const { capacity } = this.programs;
    const beams = step === 0 ? 1 : numBeams;
    const groups = this.prompts.length;
    const candidates = candidatesOf(this.settings);
    const rows: DecodingRow[] = [];
    const scores = new Float32Array(beams * groups).fill(Number.NEGATIVE_INFINITY);
    for (let row = 0; row < beams * groups; row++) {
      const group = this.groups[row % groups];
      const beam = group.done ? undefined : group.beams[Math.floor(row / groups)];
      if (beam) scores[row] = beam.logProbability;
      rows.push(this.rowOf(row % groups, beam?.tokens, row));
    }
    const outputs = await this.programs.run({
      rows,
      choice: { kind: 'beams', beams, candidates },
      sampling: this.sampling,
      step,
      cacheRows: this.rows,
      slots: this.slots.subarray(0, beams * groups * capacity),
      scores,
      sources: this.sources && { ...this.sources, of: (row) => row % groups },
    });
    const [score, token, beam] = [
      outputs.get('score'),
      outputs.get<'i32'>('token'),
      outputs.get<'i32'>('beam'),
    ];
    const slots = this.slots.slice();
    this.groups.forEach((group, b) => {
      if (group.done) return;
      const found = Array.from({ length: candidates }, (_, place) => {
        const at = b * candidates + place;
        return { score: score[at], token: token[at], beam: beam[at] };
      });
      group.advance(found).forEach((parent, k) => {
        const [to, from] = [k * groups + b, parent * groups + b].map((row) => row * capacity);
        slots.set(this.slots.subarray(from, from + capacity), to);
      });
    });
    this.slots = slots;
  }

  private rowOf(group: number, tokens: readonly number[] | undefined, row: number): DecodingRow {
    if (!tokens) return { fresh: [], cached: 0, ids: [] };
    const ids = [...this.prompts[group], ...tokens];
    const cached = this.programs.model.keepsCache && tokens.length > 0 ? ids.length - 1 : 0;
    const fresh = ids.slice(cached);
    // New tokens lie in the beam's own row; what it shares with others stays where it is.
    const { capacity } = this.programs;
    if (tokens.length > 0) this.slots.fill(row, row * capacity + cached, row * capacity + ids.length);
    return { fresh, cached, ids };
  }
}
