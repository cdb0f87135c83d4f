// The settings that say what a model is trained to do, and on which files.
import * as v from 'valibot';
import { classifierEntries } from '../models/configSchema.js';
import { choice, fraction, onOff, positiveInteger, positiveNumber, text } from '../models/settingFields.js';

export const objectiveNames = [
  'causal',
  'masked',
  'span-corruption',
  'denoising',
  'sequence-to-sequence',
  'classification',
  'completion',
] as const;
export type ObjectiveName = (typeof objectiveNames)[number];

const forPairs = 'sequence-to-sequence: ';

export const objectiveEntries = {
  objective: v.optional(
    choice(
      objectiveNames,
      'What the model learns: the next token, masked tokens, spans left out (T5) or infilled (BART), a target for a source, a label, or a completion for a prompt',
    ),
    'causal',
  ),
  source: v.optional(text(`${forPairs}file of sources, a line each`)),
  target: v.optional(text(`${forPairs}file of targets, a line each, aligned with the sources`)),
  validSource: v.optional(text(`${forPairs}sources of the valid part`)),
  validTarget: v.optional(text(`${forPairs}targets of the valid part`)),
  validData: v.optional(
    text(
      'Valid part of a labelled .tsv (text, tab, label) or of a .jsonl (prompt, completion), whose train part is in data',
    ),
  ),
  tokensPerBatch: v.optional(
    positiveInteger(`${forPairs}size of a micro-step on its longer side, padding included`, {
      unit: 'tokens',
    }),
    2048,
  ),
  maskProbability: v.optional(fraction('masked: share of the tokens that are predicted'), 0.15),
  wholeWords: v.optional(onOff('masked: predict all tokens of a word or none'), false),
  noiseDensity: v.optional(
    fraction('span-corruption, denoising: share of the tokens left out', {
      defaultFrom: '0.15; 0.3 for denoising',
    }),
  ),
  meanSpanLength: v.optional(
    positiveNumber('span-corruption, denoising: mean length of a span', { unit: 'tokens' }),
    3,
  ),
  ...classifierEntries,
} satisfies v.ObjectEntries;
