// Every setting of a training run and its default, stated once: the type, the flags of `heddle train`, its help and the
// checks of a configuration file are derived from the schema.
import * as v from 'valibot';
import { modelEntries } from '../models/configSchema.js';
import {
  choice,
  fraction,
  nonNegativeInteger,
  nonNegativeNumber,
  onOff,
  positiveInteger,
  positiveNumber,
  text,
} from '../models/settingFields.js';
import { metricNames } from '../objectives/metrics.js';
import { precisions } from '../shape/dtype.js';
import { fineTuningEntries, objectiveEntries } from './objectiveSettings.js';
import { defaults } from './trainerOptions.js';

export const dataEntries = {
  data: v.optional(
    text(
      'Corpus: text8, sotu, a text file, a folder of text files, a .jsonl file with a text a line, or a dump of Wikipedia (.xml, .xml.bz2); a .tsv or .jsonl file for objectives with rows',
    ),
    'sotu',
  ),
  tokenizer: v.optional(
    text(
      'What a token is: characters, bytes, bpe, words, a tokenizer.json, or a folder with one or with encoder.json and vocab.bpe',
      { defaultFrom: 'characters; words for bag-of-words' },
    ),
  ),
  vocabSize: v.optional(
    positiveInteger('Vocabulary of a tokenizer that is learnt: bpe, words', {
      unit: 'tokens',
      defaultFrom: '8,000 for bpe, every word for words',
    }),
  ),
  minCount: v.optional(
    positiveInteger(
      'A word that occurs less often is unknown to a words tokenizer, and in fewer texts is no feature of a bag-of-words',
    ),
    1,
  ),
  clean: v.optional(
    choice(
      ['none', 'text8'],
      'Cleaning of texts and labelled texts before tokenising: text8 leaves a-z and spaces',
    ),
    'none',
  ),
  split: v.optional(
    v.pipe(
      v.array(v.number()),
      v.check(
        (parts) =>
          (parts.length === 2 || parts.length === 3) &&
          parts.every((part) => part >= 0 && part <= 1) &&
          Math.abs(parts.reduce((sum, part) => sum + part, 0) - 1) < 1e-6,
        '2 or 3 numbers of at least 0 that add up to 1, such as 0.9,0.05,0.05',
      ),
      v.description('Parts of the corpus, in its order, for training, validation and test'),
    ),
    [0.9, 0.05, 0.05],
  ),
  packDocuments: v.optional(
    onOff(
      'End every document with the token eos, and let tokens see their own document only, for the objective causal',
    ),
    false,
  ),
  sequenceLength: v.optional(
    positiveInteger('Length of a row of a batch', { unit: 'tokens', defaultFrom: 'maxPositionEmbeddings' }),
  ),
} satisfies v.ObjectEntries;

export const optimizationEntries = {
  batchSize: v.optional(positiveInteger('Rows of a micro-step', { unit: 'rows' }), defaults.batchSize),
  gradientAccumulationSteps: v.optional(positiveInteger('Micro-steps whose gradients make an update'), 1),
  maxSteps: v.optional(positiveInteger('Length of the run', { unit: 'updates' }), 2000),
  optimizer: v.optional(choice(['adamw', 'adam', 'sgd'], 'Rule of the update'), 'adamw'),
  learningRate: v.optional(positiveNumber('Learning rate at its peak'), 1e-3),
  minLearningRate: v.optional(
    nonNegativeNumber('Learning rate after the decay', { defaultFrom: 'a tenth of learningRate' }),
  ),
  schedule: v.optional(
    choice(
      ['constant', 'linear', 'cosine', 'inverse-square-root', 'warmup-stable-decay'],
      'Course of the learning rate after the warm-up',
    ),
    'cosine',
  ),
  warmupSteps: v.optional(nonNegativeInteger('Linear rise of the learning rate', { unit: 'updates' }), 100),
  decaySteps: v.optional(
    positiveInteger('Update at which the decay ends', { unit: 'updates', defaultFrom: 'maxSteps' }),
  ),
  weightDecay: v.optional(nonNegativeNumber('Decay of matrices, times the learning rate'), 0.1),
  beta1: v.optional(fraction("Decay of AdamW's mean of gradients"), 0.9),
  beta2: v.optional(fraction("Decay of AdamW's mean of squared gradients"), 0.95),
  epsilon: v.optional(positiveNumber("Added to AdamW's denominator"), 1e-8),
  momentum: v.optional(fraction('Momentum of SGD'), 0.9),
  labelSmoothing: v.optional(fraction('Probability taken from the target and spread over the vocabulary'), 0),
  recompute: v.optional(
    onOff('Compute blocks a second time in the backward pass instead of keeping their activations'),
    false,
  ),
  clip: v.optional(
    choice(
      ['norm', 'value', 'rescale', 'none'],
      'Clipping of gradients: shrink to maxGradNorm, bound each by clipValue, or rescale to maxGradNorm up and down',
    ),
    'norm',
  ),
  maxGradNorm: v.optional(positiveNumber('Norm of all gradients together, for clip norm and rescale'), 1),
  clipValue: v.optional(positiveNumber('Largest magnitude of a gradient, for clip value'), 1),
  maxSkippedSteps: v.optional(
    nonNegativeInteger('Updates in a row that may be skipped for a gradient that is not finite', {
      unit: 'updates',
    }),
    10,
  ),
  precision: v.optional(
    choice(precisions, 'What matrices and activations are; masters and optimizer state are always float32'),
    'float32',
  ),
  seed: v.optional(nonNegativeInteger('Seed of the weights, the order of the data and dropout'), 1),
} satisfies v.ObjectEntries;

export const evaluationEntries = {
  evalEvery: v.optional(positiveInteger('Distance of evaluations', { unit: 'updates' }), 1000),
  evalBatches: v.optional(
    nonNegativeInteger('Batches of an evaluation in mid-run, with 0 the whole part', { unit: 'batches' }),
    0,
  ),
  checkpointEvery: v.optional(positiveInteger('Distance of checkpoints', { unit: 'updates' }), 500),
  earlyStoppingPatience: v.optional(
    nonNegativeInteger('Evaluations without a gain after which the run stops, with 0 never', {
      unit: 'evaluations',
    }),
    0,
  ),
  earlyStoppingMinGain: v.optional(
    nonNegativeNumber('Smallest gain of what is watched that counts', {
      unit: 'nats per token for the loss',
    }),
    0,
  ),
  earlyStoppingMetric: v.optional(
    choice(['loss', ...metricNames], 'What of an evaluation decides which weights are best'),
    defaults.earlyStoppingMetric,
  ),
} satisfies v.ObjectEntries;

export const runEntries = {
  out: v.optional(text('Folder of the run: checkpoints, best weights and metrics'), 'runs/model'),
  resume: v.optional(onOff('Go on from the newest checkpoint in the folder of the run'), false),
  device: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(auto|cpu|cuda|cuda:\d{1,3})$/, 'auto, cpu, cuda or cuda:N'),
      v.description('Where the steps are computed: auto, cpu, cuda or cuda:N'),
    ),
    'auto',
  ),
  threads: v.optional(positiveInteger('Threads of the CPU backend', { defaultFrom: 'one for each core' })),
  tf32: v.optional(
    onOff('Let a GPU round the operands of float32 matrix products to tf32, for its tensor cores'),
    false,
  ),
  logEvery: v.optional(positiveInteger('Distance of reports', { unit: 'updates' }), 10),
  json: v.optional(onOff('Write one JSON event a line to standard output'), false),
} satisfies v.ObjectEntries;

const groups = {
  Objective: objectiveEntries,
  'Fine-tuning': fineTuningEntries,
  Model: modelEntries,
  Data: dataEntries,
  Optimization: optimizationEntries,
  'Evaluation and checkpoints': evaluationEntries,
  Run: runEntries,
};

export const trainSettingsSchema = v.pipe(
  v.strictObject({
    ...objectiveEntries,
    ...fineTuningEntries,
    ...modelEntries,
    ...dataEntries,
    ...optimizationEntries,
    ...evaluationEntries,
    ...runEntries,
  }),
  v.metadata({
    groups: Object.fromEntries(
      Object.entries(groups).map(([title, entries]) => [title, Object.keys(entries)]),
    ),
  }),
);

/** As given: what follows from other settings may be missing. */
export type TrainSettings = v.InferOutput<typeof trainSettingsSchema>;
