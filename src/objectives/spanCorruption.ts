import type { TextData } from '../data/textData.js';
import { ConfigError } from '../errors.js';
import { shuffle } from '../random/shuffle.js';
import type { RandomStream } from '../random/stream.js';
import { PredictionTally } from './metrics.js';
import type { Objective } from './objective.js';
import {
  fillTarget,
  pairInputs,
  pairLoss,
  type SequenceToSequenceModel,
  type TargetTokens,
} from './sequenceToSequence.js';
import { windowObjective } from './windowObjective.js';

interface CorruptionOptions extends TargetTokens {
  /** Tokens of the text behind a row. */
  sequenceLength: number;
  /** Share of the tokens that are left out. */
  noiseDensity?: number;
  /** Mean length of what is left out in one place, in tokens. Default 3. */
  meanSpanLength?: number;
  /** Share of the target's probability that is spread over the vocabulary, in training only. Default 0. */
  labelSmoothing?: number;
}

export interface SpanCorruptionOptions extends CorruptionOptions {
  /** Tokens that stand for what is left out, in their order; at least as many as a row has spans. */
  sentinels: readonly number[];
}

export interface DenoisingOptions extends CorruptionOptions {
  /** The token that stands for each span that is left out. */
  mask: number;
}

/** Tokens of a text of `length` that are left out, and in how many spans. At least one token stays and one goes. */
function noiseOf(length: number, density: number, meanSpanLength: number): { noise: number; spans: number } {
  const noise = Math.min(Math.max(1, Math.round(length * density)), length - 1);
  return { noise, spans: Math.min(Math.max(1, Math.round(noise / meanSpanLength)), noise, length - noise) };
}

/** `parts` numbers of at least 1 that add up to `total`, all ways being equally probable. */
function segments(total: number, parts: number, random: RandomStream): number[] {
  const cuts = shuffle(
    Array.from({ length: total - 1 }, (_, index) => index + 1),
    random,
  )
    .slice(0, parts - 1)
    .sort((a, b) => a - b);
  return [...cuts, total].map((end, index) => end - (index > 0 ? cuts[index - 1] : 0));
}

/**
 * Span corruption (Raffel et al. 2019, arXiv:1910.10683, section 3.1.4, T5): spans of a text are left out, a sentinel each in their place;
 * the target is each sentinel with what stood there. noiseDensity defaults to 0.15.
 */
export function spanCorruption(options: SpanCorruptionOptions): Objective<SequenceToSequenceModel, TextData> {
  return corruption('span-corruption', { noiseDensity: 0.15, ...options }, options.sentinels, true);
}

/**
 * Denoising by infilling (Lewis et al. 2019, arXiv:1910.13461, BART): one mask for each span that is left out, the target is the whole
 * text. Spans are drawn as for span corruption, not from a Poisson distribution. noiseDensity defaults to 0.3.
 */
export function denoising(options: DenoisingOptions): Objective<SequenceToSequenceModel, TextData> {
  return corruption('denoising', { noiseDensity: 0.3, ...options }, [options.mask], false);
}

function corruption(
  name: string,
  options: CorruptionOptions & { noiseDensity: number },
  marks: readonly number[],
  targetsSpans: boolean,
): Objective<SequenceToSequenceModel, TextData> {
  const { sequenceLength, noiseDensity, meanSpanLength = 3, labelSmoothing = 0, bos, eos } = options;
  if (sequenceLength < 2)
    throw new ConfigError(`${name}: sequenceLength must be at least 2, but it is ${sequenceLength}`);
  const { noise, spans } = noiseOf(sequenceLength, noiseDensity, meanSpanLength);
  if (targetsSpans && marks.length < spans) {
    throw new ConfigError(
      `${name}: a row of ${sequenceLength} tokens has ${spans} spans but there are ${marks.length} sentinels; use more, or longer spans`,
    );
  }
  const length = sequenceLength - noise + spans + 1;
  const targetLength = (targetsSpans ? noise + spans : sequenceLength) + 1;
  return windowObjective<SequenceToSequenceModel>({
    name,
    sequenceLength,
    settings: { sequenceLength, noiseDensity, meanSpanLength, labelSmoothing, marks, bos, eos },
    buckets: (batchSize) => [{ rows: batchSize, length, targetLength }],
    inputs: pairInputs,
    loss: (model, inputs, training) => pairLoss(model, inputs, labelSmoothing, training),
    padding: { targets: -1 },
    filler: () => (arrays, place, window, random) => {
      const { source, target } = corrupted(window, random);
      arrays.inputIds.set([...source, eos], place * length);
      arrays.inputLengths[place] = source.length + 1;
      fillTarget(arrays, place, target.length + 1, { bos, eos }, (ids, offset) => ids.set(target, offset));
      return source.length + 1 + target.length + 1;
    },
    tally: () => new PredictionTally(),
  });

  /** Text that stays and text that goes take turns, beginning with what stays. */
  function corrupted(window: Int32Array, random: RandomStream): { source: number[]; target: number[] } {
    if (window.length < 2) return { source: [...window], target: [] };
    const { noise, spans } = noiseOf(window.length, noiseDensity, meanSpanLength);
    const gone = segments(noise, spans, random);
    const kept = segments(window.length - noise, spans, random);
    const source: number[] = [];
    const target: number[] = targetsSpans ? [] : [...window];
    let at = 0;
    gone.forEach((goneCount, span) => {
      const mark = marks[targetsSpans ? span : 0];
      source.push(...window.subarray(at, at + kept[span]), mark);
      at += kept[span];
      if (targetsSpans) target.push(mark, ...window.subarray(at, at + goneCount));
      at += goneCount;
    });
    return { source, target };
  }
}
