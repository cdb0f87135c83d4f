// The settings that say what a model is trained to do, and on which files.
import * as v from 'valibot';
import { classifierEntries } from '../models/configSchema.js';
import {
  choice,
  fraction,
  nonNegativeInteger,
  onOff,
  positiveInteger,
  positiveNumber,
  text,
} from '../models/settingFields.js';
import { featureWeightings } from '../text/bagOfWords.js';

export const objectiveNames = [
  'causal',
  'masked',
  'span-corruption',
  'denoising',
  'sequence-to-sequence',
  'classification',
  'bag-of-words',
  'completion',
] as const;
export type ObjectiveName = (typeof objectiveNames)[number];

const noFile = { defaultFrom: 'none' };

export const objectiveEntries = {
  objective: v.optional(
    choice(
      objectiveNames,
      'What the model learns: the next token, masked tokens, spans left out (T5) or infilled (BART), a target for a source, a label of a text or of its bag of words, or a completion for a prompt',
    ),
    'causal',
  ),
  source: v.optional(text('File of sources, a line each, for sequence-to-sequence', noFile)),
  target: v.optional(text('File of targets, a line each, aligned with the sources', noFile)),
  validSource: v.optional(text('Sources of the valid part', noFile)),
  validTarget: v.optional(text('Targets of the valid part', noFile)),
  validData: v.optional(
    text(
      'Valid part of a labelled .tsv (text, tab, label) or of a .jsonl (prompt, completion), whose train part is in data',
      noFile,
    ),
  ),
  tokensPerBatch: v.optional(
    positiveInteger('Size of a micro-step on its longer side with padding, for sequence-to-sequence', {
      unit: 'tokens',
    }),
    2048,
  ),
  maskProbability: v.optional(fraction('Share of the tokens that are predicted, for masked'), 0.15),
  wholeWords: v.optional(onOff('Predict all tokens of a word or none, for masked'), false),
  noiseDensity: v.optional(
    fraction('Share of the tokens left out, for span-corruption and denoising', {
      defaultFrom: '0.15; 0.3 for denoising',
    }),
  ),
  meanSpanLength: v.optional(positiveNumber('Mean length of a span that is left out', { unit: 'tokens' }), 3),
  ...classifierEntries,
  features: v.optional(
    choice(
      featureWeightings,
      'What stands for a word in a bag-of-words: that it is there, how often, or that by how few texts have it',
    ),
    'tfidf',
  ),
  maxNgram: v.optional(
    positiveInteger('Longest sequence of words that is a feature of a bag-of-words', { unit: 'tokens' }),
    1,
  ),
  hiddenSizes: v.optional(
    v.pipe(
      v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
      v.description('Widths of the hidden layers over a bag-of-words'),
      v.metadata({ unit: 'features', defaultFrom: 'none: softmax regression' }),
    ),
  ),
} satisfies v.ObjectEntries;

/** What a run starts from, and what of it is trained. */
export const fineTuningEntries = {
  initFrom: v.optional(
    text(
      'Run or checkpoint whose tokenizer, sizes and weights are taken over, as far as tensors fit by name and shape',
      noFile,
    ),
  ),
  loraRank: v.optional(
    nonNegativeInteger(
      'Inner width of low-rank adapters (LoRA), which are trained in place of the weights they correct and saved apart from them, with 0 none',
    ),
    0,
  ),
  loraAlpha: v.optional(
    positiveNumber('Multiplies what adapters say, together with 1 / loraRank', { defaultFrom: 'loraRank' }),
  ),
  loraDropout: v.optional(fraction('Dropout of what enters adapters'), 0),
  loraTargets: v.optional(
    text('Dense layers that get an adapter, such as attention.qkv,feedForward', {
      defaultFrom: 'all of every attention and feed-forward part',
    }),
  ),
  freeze: v.optional(text('Parts that stay as they are, such as embedding,layers.0', noFile)),
  layerDecay: v.optional(
    v.pipe(
      v.number(),
      v.gtValue(0),
      v.maxValue(1),
      v.description('Learning rate of a layer as a share of that of the layer above it'),
    ),
    1,
  ),
} satisfies v.ObjectEntries;
