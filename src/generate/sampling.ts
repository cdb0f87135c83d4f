import { ConfigError } from '../errors.js';

/** How the next token is drawn. Without any of these: from the model's distribution as it is. */
export interface SamplingOptions {
  /** Divides logits; 0 takes the most probable token, Infinity draws uniformly. Default 1. */
  temperature?: number;
  /** Draws among the topK most probable tokens only; 0 among all. Default 0. */
  topK?: number;
  /** Draws among the fewest tokens whose probabilities reach topP together. Default 1. */
  topP?: number;
  /** Always the most probable token; the same as temperature 0. */
  greedy?: boolean;
  /** Every token equally likely, whatever the model says; the same as temperature Infinity. */
  uniform?: boolean;
  /** Chooses among the samples of a prompt. Default 0. */
  seed?: number;
}

export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
}

/** Fills in defaults; throws ConfigError for a value out of range or options that contradict each other. */
export function samplingOf(options: SamplingOptions = {}): Sampling {
  const { greedy = false, uniform = false, topK = 0, topP = 1, seed = 0 } = options;
  if (greedy && uniform) throw new ConfigError('greedy and uniform exclude each other; use one of them');
  if ((greedy || uniform) && options.temperature !== undefined) {
    throw new ConfigError(`${greedy ? 'greedy' : 'uniform'} sets the temperature; leave temperature out`);
  }
  const temperature = greedy ? 0 : uniform ? Number.POSITIVE_INFINITY : (options.temperature ?? 1);
  if (!(temperature >= 0)) throw new ConfigError(`temperature must be 0 or more, but it is ${temperature}`);
  if (!Number.isSafeInteger(topK) || topK < 0) {
    throw new ConfigError(`topK must be a whole number of tokens, or 0 for all, but it is ${topK}`);
  }
  if (!(topP > 0 && topP <= 1))
    throw new ConfigError(`topP must be above 0 and at most 1, but it is ${topP}`);
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new ConfigError(`seed must be a whole number from 0 to 2^53 - 1, but it is ${seed}`);
  }
  return { temperature, topK, topP, seed };
}
