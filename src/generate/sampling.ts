import { ConfigError } from '../errors.js';

/** How the next token is drawn. Without any of these: from the model's distribution as it is. */
export interface SamplingOptions {
  /** Divides logits; 0 takes the most probable token, Infinity draws uniformly. Default 1. */
  temperature?: number;
  /** Draws among the topK most probable tokens only; 0 among all. Default 0. */
  topK?: number;
  /** Draws among the fewest tokens whose probabilities reach topP together. Default 1. */
  topP?: number;
  /** Draws among tokens at least minP times as probable as the most probable one. Default 0: among all. */
  minP?: number;
  /** Draws among the tokens whose surprisal is nearest to the entropy, as many as reach typicalP together. Default 1: all. */
  typicalP?: number;
  /** Divides positive logits of tokens that were said before and multiplies negative ones. Default 1. */
  repetitionPenalty?: number;
  /** No sequence of so many tokens comes twice; 0 lets them. Default 0. */
  noRepeatNgramSize?: number;
  /** Always the most probable token; the same as temperature 0. */
  greedy?: boolean;
  /** Every token equally likely, whatever the model says; the same as temperature Infinity. */
  uniform?: boolean;
  /** Chooses among the samples of a prompt. Default 0. */
  seed?: number;
}

export type Sampling = Required<Omit<SamplingOptions, 'greedy' | 'uniform'>>;

/** What each number may be. */
const rules: readonly [name: keyof Sampling, allows: (value: number) => boolean, expected: string][] = [
  ['temperature', (value) => value >= 0, 'be 0 or more'],
  ['topK', isCount, 'be a whole number of tokens, or 0 for all'],
  ['topP', (value) => value > 0 && value <= 1, 'be above 0 and at most 1'],
  ['minP', (value) => value >= 0 && value <= 1, 'be from 0 to 1'],
  ['typicalP', (value) => value > 0 && value <= 1, 'be above 0 and at most 1'],
  ['repetitionPenalty', (value) => value > 0 && Number.isFinite(value), 'be above 0'],
  ['noRepeatNgramSize', isCount, 'be a whole number of tokens, or 0 for no limit'],
  ['seed', isCount, 'be a whole number from 0 to 2^53 - 1'],
];

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Fills in defaults; throws ConfigError for a value out of range or options that contradict each other. */
export function samplingOf(options: SamplingOptions = {}): Sampling {
  const { greedy = false, uniform = false } = options;
  if (greedy && uniform) throw new ConfigError('greedy and uniform exclude each other; use one of them');
  if ((greedy || uniform) && options.temperature !== undefined) {
    throw new ConfigError(`${greedy ? 'greedy' : 'uniform'} sets the temperature; leave temperature out`);
  }
  const sampling: Sampling = {
    temperature: greedy ? 0 : uniform ? Number.POSITIVE_INFINITY : (options.temperature ?? 1),
    topK: options.topK ?? 0,
    topP: options.topP ?? 1,
    minP: options.minP ?? 0,
    typicalP: options.typicalP ?? 1,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    noRepeatNgramSize: options.noRepeatNgramSize ?? 0,
    seed: options.seed ?? 0,
  };
  for (const [name, allows, expected] of rules) {
    const value = sampling[name];
    if (!allows(value))
      throw new ConfigError(`${name} must ${expected}, but it is ${value}`, { [name]: value });
  }
  return sampling;
}

/** Whether what was said before bears on what comes next. */
export const looksBack = ({ repetitionPenalty, noRepeatNgramSize }: Sampling): boolean =>
  repetitionPenalty !== 1 || noRepeatNgramSize > 0;
