import { ConfigError } from '../errors.js';

/** How beams are kept, scored and ended. */
export interface BeamSettings {
  /** Beams of a prompt. Default 4. */
  readonly numBeams: number;
  /** Hypotheses that are returned for a prompt, at most numBeams. Default 1. */
  readonly numReturnSequences: number;
  /**
   * A hypothesis scores its log-probability / length^lengthPenalty, its end counted: above 0 longer ones gain, 0 takes the
   * log-probability as it is. Default 1.
   */
  readonly lengthPenalty: number;
  /**
   * When a prompt is done, once numBeams hypotheses have ended: true at once; false when the best beam as it stands scores no
   * more than the worst of them; 'never' when no continuation of it ever could. Default false.
   */
  readonly earlyStopping: boolean | 'never';
  /** Tokens of a continuation, at most. */
  readonly maxNewTokens: number;
  /** The token that ends a hypothesis; without it all grow to maxNewTokens. */
  readonly endToken?: number;
}

/** A continuation of a prompt. */
export interface ScoredTokens {
  /** Without the token that ended it. */
  readonly tokens: readonly number[];
  /** Sum over its tokens and its end, in nats. */
  readonly logProbability: number;
  /** logProbability / length^lengthPenalty. */
  readonly score: number;
}

/** What may come next for one prompt, best first; a score of -infinity is none. */
export interface Candidate {
  readonly score: number;
  readonly token: number;
  readonly beam: number;
}

interface Beam {
  readonly tokens: readonly number[];
  readonly logProbability: number;
}

/** Candidates that always hold as many that go on as there are beams: at most one of each beam ends. */
export const candidatesOf = ({ numBeams }: Pick<BeamSettings, 'numBeams'>): number => 2 * numBeams;

/** The beams of one prompt and the hypotheses that have ended. */
export class BeamGroup {
  beams: readonly Beam[] = [{ tokens: [], logProbability: 0 }];
  done = false;
  private readonly ended: ScoredTokens[] = [];

  constructor(private readonly settings: BeamSettings) {}

  /** Takes a step; returns for each beam that lives on which one it continues. */
  advance(candidates: readonly Candidate[]): number[] {
    const { numBeams, endToken, maxNewTokens } = this.settings;
    const next: Beam[] = [];
    const parents: number[] = [];
    candidates.forEach(({ score, token, beam }, rank) => {
      if (score === Number.NEGATIVE_INFINITY || next.length === numBeams) return;
      const { tokens } = this.beams[beam];
      if (token === endToken) {
        // One that is not among the best beams would have been dropped if it went on.
        if (rank < numBeams) this.end(tokens, score, tokens.length + 1);
        return;
      }
      next.push({ tokens: [...tokens, token], logProbability: score });
      parents.push(beam);
    });
    this.beams = next;
    const length = next[0]?.tokens.length ?? 0;
    this.done = next.length === 0 || length >= maxNewTokens || this.hasEnough(length);
    return parents;
  }

  /** The best hypotheses; beams that have not ended take part as they stand. */
  best(): ScoredTokens[] {
    const { numReturnSequences } = this.settings;
    const open = this.hasEnough(this.beams[0]?.tokens.length ?? 0) ? [] : this.beams;
    const all = [
      ...this.ended,
      ...open.map(({ tokens, logProbability }) => this.scored(tokens, logProbability, tokens.length)),
    ];
    return all.sort((a, b) => b.score - a.score).slice(0, numReturnSequences);
  }

  private end(tokens: readonly number[], logProbability: number, length: number): void {
    this.ended.push(this.scored(tokens, logProbability, length));
    this.ended.sort((a, b) => b.score - a.score);
    this.ended.length = Math.min(this.ended.length, this.settings.numBeams);
  }

  private scored(tokens: readonly number[], logProbability: number, length: number): ScoredTokens {
    return { tokens, logProbability, score: this.score(logProbability, length) };
  }

  private score(logProbability: number, length: number): number {
    return logProbability / Math.max(1, length) ** this.settings.lengthPenalty;
  }

  private hasEnough(length: number): boolean {
    const { numBeams, earlyStopping, lengthPenalty, maxNewTokens } = this.settings;
    if (this.ended.length < numBeams || this.beams.length === 0) return this.ended.length >= numBeams;
    if (earlyStopping === true) return true;
    // A log-probability only falls: the best that can come of it is as it is, at the length that flatters it most.
    const flattering = earlyStopping === 'never' && lengthPenalty > 0 ? maxNewTokens : length;
    return this.ended.at(-1)!.score >= this.score(this.beams[0].logProbability, flattering);
  }
}

/** Fills in defaults; throws ConfigError for what cannot be. */
export function beamSettings(options: Partial<BeamSettings>, maxNewTokens: number): BeamSettings {
  const { numBeams = 4, numReturnSequences = 1, lengthPenalty = 1, earlyStopping = false } = options;
  if (!Number.isSafeInteger(numBeams) || numBeams < 1 || numBeams > mostBeams) {
    throw new ConfigError(`numBeams must be a whole number from 1 to ${mostBeams}, but it is ${numBeams}`);
  }
  if (!Number.isSafeInteger(numReturnSequences) || numReturnSequences < 1 || numReturnSequences > numBeams) {
    throw new ConfigError(
      `numReturnSequences must be a whole number from 1 to numBeams ${numBeams}, but it is ${numReturnSequences}`,
    );
  }
  if (!Number.isFinite(lengthPenalty)) {
    throw new ConfigError(`lengthPenalty must be a number, but it is ${lengthPenalty}`);
  }
  const { endToken } = options;
  return { numBeams, numReturnSequences, lengthPenalty, earlyStopping, maxNewTokens, endToken };
}

/** What the kernels of beam_candidates merge. */
const mostBeams = 256;
