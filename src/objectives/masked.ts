import type { TextData } from '../data/textData.js';
import type { Tensor } from '../graph/tensor.js';
import type { Module } from '../nn/index.js';
import { crossEntropy } from '../ops/index.js';
import { below, shuffle } from '../random/shuffle.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { PredictionTally } from './metrics.js';
import type { Objective } from './objective.js';
import { likeliest } from './sequenceToSequence.js';
import { windowObjective } from './windowObjective.js';

/** A model that scores tokens at chosen places, int32 [N] of row * T + token: logits [N, vocabSize]. */
export interface MaskingModel extends Module {
  forward(inputs: { inputIds: Tensor; lengths: Tensor; positions: Tensor }): { logits: Tensor };
}

export interface MaskedOptions {
  /** Tokens of a row. */
  sequenceLength: number;
  /** The token that stands in a masked place. */
  mask: number;
  /** Share of the tokens that are predicted. Default 0.15. */
  probability?: number;
  /** Predict all tokens of a word or none. Default false. */
  wholeWords?: boolean;
}

/**
 * Masked language modelling (Devlin et al. 2018, section 3.1): of each row a share of the tokens is predicted; 80% of these are replaced by
 * the mask, 10% by a random token, 10% stay. Only those places are scored.
 */
export function masked(options: MaskedOptions): Objective<MaskingModel, TextData> {
  const { sequenceLength, mask, probability = 0.15, wholeWords = false } = options;
  const countFor = (length: number) => Math.max(1, Math.round(probability * length));
  const maxPredictions = countFor(sequenceLength);
  return windowObjective<MaskingModel>({
    name: 'masked',
    sequenceLength,
    settings: { sequenceLength, mask, probability, wholeWords },
    buckets: (batchSize) => [{ rows: batchSize, length: sequenceLength }],
    inputs: ({ rows, length }, vocabSize) => [
      { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
      { name: 'lengths', shape: [rows], dtype: 'i32', minimum: 0, limit: length + 1 },
      { name: 'positions', shape: [rows * maxPredictions], dtype: 'i32', minimum: 0, limit: rows * length },
      { name: 'targets', shape: [rows * maxPredictions], dtype: 'i32', minimum: -1, limit: vocabSize },
    ],
    loss: (model, { inputIds, lengths, positions, targets }, training) => {
      const { logits } = model.forward({ inputIds, lengths, positions });
      const loss = crossEntropy(logits, targets);
      return training ? loss : { ...loss, outputs: { predictions: likeliest(logits) } };
    },
    padding: { targets: -1 },
    filler: ({ tokenizer }) => {
      const isContinued = wholeWords ? continuations(tokenizer) : () => false;
      return ({ inputIds, lengths, positions, targets }, place, window, random) => {
        const begin = place * sequenceLength;
        inputIds.set(window, begin);
        lengths[place] = window.length;
        const units = unitsOf(window, isContinued);
        chosen(shuffle(units, random), countFor(window.length)).forEach((index, prediction) => {
          const at = place * maxPredictions + prediction;
          positions[at] = begin + index;
          targets[at] = window[index];
          const lot = random.uniform();
          if (lot < 0.8) inputIds[begin + index] = mask;
          else if (lot < 0.9) inputIds[begin + index] = below(random, tokenizer.vocabSize);
        });
        return window.length;
      };
    },
    tally: () => new PredictionTally(),
  });
}

/** Places that are masked together, in order. */
function unitsOf(window: Int32Array, isContinued: (before: number, id: number) => boolean): number[][] {
  const units: number[][] = [];
  window.forEach((id, index) => {
    if (index > 0 && isContinued(window[index - 1], id)) units.at(-1)!.push(index);
    else units.push([index]);
  });
  return units;
}

/** Places of the first units that together are at most `count`, ascending. */
function chosen(units: readonly number[][], count: number): number[] {
  const places: number[] = [];
  for (const unit of units) {
    if (places.length + unit.length <= count) places.push(...unit);
    if (places.length === count) break;
  }
  return places.sort((a, b) => a - b);
}

/** Whether a token goes on the word of the one before it: no white space parts them. */
function continuations(tokenizer: Tokenizer): (before: number, id: number) => boolean {
  const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  // Some decode otherwise at the beginning of a text than behind another token.
  const before = ids.find((id) => /^[!-~]+$/.test(tokenizer.decode([id])));
  const texts = ids.map((id) =>
    before === undefined
      ? tokenizer.decode([id])
      : tokenizer.decode([before, id]).slice(tokenizer.decode([before]).length),
  );
  const begins = texts.map((text) => /^\s/.test(text));
  const ends = texts.map((text) => /\s$/.test(text));
  // Where no token has white space, tokens are words.
  if (!begins.includes(true) && !ends.includes(true)) return () => false;
  return (before, id) => !ends[before] && !begins[id];
}
