// From the settings of a run to its objective, data and model.

import { labelledData } from '../data/labelled.js';
import { pairData } from '../data/pairs.js';
import type { WorkOptions } from '../data/progress.js';
import { promptCompletionData } from '../data/promptCompletions.js';
import type { LabelledData } from '../data/rowData.js';
import { idsOf, type TokenRows } from '../data/rows.js';
import { type TextData, textData } from '../data/textData.js';
import { ConfigError } from '../errors.js';
import { Classifier } from '../models/classifier.js';
import {
  type AnyTransformerConfig,
  type Architecture,
  architectureOf,
  transformerConfig,
} from '../models/config.js';
import { Decoder } from '../models/decoder.js';
import { MaskedLanguageModel } from '../models/encoder.js';
import { EncoderDecoder } from '../models/encoderDecoder.js';
import { Mlp } from '../models/mlp.js';
import type { Module } from '../nn/index.js';
import { bagOfWordsClassification } from '../objectives/bagOfWords.js';
import { causal } from '../objectives/causal.js';
import { classification } from '../objectives/classification.js';
import { completion, completionEnd } from '../objectives/completion.js';
import { masked } from '../objectives/masked.js';
import type { Objective, ObjectiveData } from '../objectives/objective.js';
import { pairBuckets, sequenceToSequence } from '../objectives/sequenceToSequence.js';
import { denoising, spanCorruption } from '../objectives/spanCorruption.js';
import { appendTokens, modelTokens } from '../text/appendedTokens.js';
import { BagOfWords } from '../text/bagOfWords.js';
import type { SpecialTokenName } from '../text/specialTokens.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { sequenceLengthFrom, tokenizerFrom } from './fromSettings.js';
import { type ObjectiveName, objectiveEntries } from './objectiveSettings.js';
import { dataEntries, type TrainSettings } from './settings.js';

/** All that a run is about. */
export interface Task {
  readonly objective: Objective<Module, ObjectiveData>;
  readonly data: ObjectiveData;
  readonly tokenizer: Tokenizer;
  /** Of the model: the tokenizer's, and special tokens behind it. */
  readonly vocabSize: number;
  /** Names of the classes, for classification. */
  readonly labelNames?: readonly string[];
  /** Made anew by each call. */
  makeModel(): Module;
  /** How large the data are, in words. */
  readonly size: string;
  /** To be kept beside the weights: enough to open the task again. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** What is known already when a trained model's task is opened again. */
export interface KnownTask extends WorkOptions {
  readonly tokenizer?: Tokenizer;
  readonly labelNames?: readonly string[];
  /** For bag-of-words. */
  readonly features?: BagOfWords;
  /** Of the model. Tokens behind those the objective knows, such as the sentinels of its pre-training, stay in its tables. */
  readonly vocabSize?: number;
}

type Opened = Omit<Task, 'settings' | 'makeModel' | 'objective'> & {
  objective: unknown;
  /** What is padded to, where it follows from the data. */
  sequenceLength?: number;
} & ({ modelOf: (config: AnyTransformerConfig) => Module } | { makeModel: () => Module });

interface Kind {
  /** Transformers that can learn it, and the family that is taken where none is named; neither where the model is none. */
  readonly architectures: readonly Architecture[];
  readonly family: AnyTransformerConfig['modelType'] | undefined;
  open(settings: TrainSettings, known: KnownTask): Promise<Opened>;
}

const decoderOf = (config: AnyTransformerConfig) => new Decoder(config as never);
const encoderDecoderOf = (config: AnyTransformerConfig) => new EncoderDecoder(config as never);

async function openText(
  settings: TrainSettings,
  known: KnownTask,
  specialTokens: readonly SpecialTokenName[] = [],
): Promise<{ data: TextData; size: string }> {
  const { data: name, vocabSize, minCount, clean, split, packDocuments } = settings;
  const { signal, onProgress } = known;
  const tokenizer = known.tokenizer ?? tokenizerFrom(settings);
  const building = { vocabSize, minCount, specialTokens, clean, split, endDocuments: packDocuments };
  const data = await textData(name, { ...building, tokenizer, signal, onProgress });
  return { data, size: `${data.source.count.toLocaleString('en-US')} tokens of ${name}` };
}

/** T5 has 100 sentinels. */
const sentinelNames = Array.from({ length: 100 }, (_, index) => `sentinel${index}`);

const kinds: Readonly<Record<ObjectiveName, Kind>> = {
  causal: {
    architectures: ['decoder'],
    family: 'gpt2',
    async open(settings, known) {
      const { data, size } = await openText(settings, known);
      const { tokenizer } = data;
      const { labelSmoothing, packDocuments } = settings;
      const sequenceLength = sequenceLengthFrom(settings);
      const objective = causal({ sequenceLength, labelSmoothing, packDocuments });
      return { objective, data, tokenizer, vocabSize: tokenizer.vocabSize, size, modelOf: decoderOf };
    },
  },
  masked: {
    architectures: ['encoder'],
    family: 'bert',
    async open(settings, known) {
      const { data, size } = await openText(settings, known, modelTokens.encoder);
      const { ids, vocabSize } = appendTokens(data.tokenizer, modelTokens.encoder);
      const { maskProbability: probability, wholeWords } = settings;
      const objective = masked({
        sequenceLength: sequenceLengthFrom(settings),
        mask: ids.mask,
        probability,
        wholeWords,
      });
      const modelOf = (config: AnyTransformerConfig) => new MaskedLanguageModel(config as never);
      return { objective, data, tokenizer: data.tokenizer, vocabSize, size, modelOf };
    },
  },
  'span-corruption': corruptionKind(sentinelNames),
  denoising: corruptionKind(['mask']),
  'sequence-to-sequence': {
    architectures: ['encoderDecoder'],
    family: 'marian',
    async open(settings, known) {
      const { source, target, validSource, validTarget, tokensPerBatch, labelSmoothing } = settings;
      if (!source || !target)
        throw new ConfigError('sequence-to-sequence needs --source and --target, two line-aligned files');
      if (!validSource !== !validTarget)
        throw new ConfigError('--valid-source and --valid-target go together');
      const train = { source, target };
      const valid = validSource && validTarget ? { source: validSource, target: validTarget } : undefined;
      const data = await pairData({ train, ...(valid && { valid }) }, rowOptions(settings, known));
      const { ids, vocabSize } = appendTokens(data.tokenizer, modelTokens.encoderDecoder);
      const buckets = pairBuckets(data.parts.train!, {
        tokensPerBatch,
        maxLength: sequenceLengthFrom(settings),
      });
      const objective = sequenceToSequence({ buckets, bos: ids.bos, eos: ids.eos, labelSmoothing });
      const size = `${count(data.parts.train!.source)} pairs of ${source} and ${target}`;
      return { objective, data, tokenizer: data.tokenizer, vocabSize, size, modelOf: encoderDecoderOf };
    },
  },
  classification: {
    architectures: ['decoder', 'encoder'],
    family: 'bert',
    async open(settings, known) {
      const { validData, pooling, classifierDropout } = settings;
      const specialTokens = ['pad', 'mask', 'cls'] as const;
      const options = { ...labelledOptions(settings, known), specialTokens };
      const data = await labelledData(partFiles(settings.data, validData), options);
      const { tokenizer, labelNames } = data;
      const numLabels = labelNames.length;
      const { objective, vocabSize } = classifierFor(settings, { tokenizer }, numLabels);
      const modelOf = (body: AnyTransformerConfig) =>
        new Classifier({ numLabels, pooling, classifierDropout, body: body as never });
      const size = `${count(data.parts.train!.rows)} texts of ${settings.data} with ${numLabels} labels`;
      return { objective, data, tokenizer, vocabSize, labelNames, size, modelOf };
    },
  },
  'bag-of-words': {
    architectures: [],
    family: undefined,
    async open(settings, known) {
      const { hiddenSizes = [], hiddenAct, dropout, minCount, maxNgram, features: weighting } = settings;
      const options = { ...labelledOptions(settings, known), specialTokens: [] };
      const data = await labelledData(partFiles(settings.data, settings.validData), options);
      const { tokenizer, labelNames } = data;
      const { vocabSize } = tokenizer;
      const { rows } = data.parts.train!;
      const specialIds = Object.values(tokenizer.specialTokens);
      const features =
        known.features ??
        BagOfWords.learn(idsOf(rows), { vocabSize, specialIds, weighting, maxNgram, minCount });
      const sequenceLength = settings.sequenceLength ?? mostFeatures(rows, features);
      const numLabels = labelNames.length;
      const { objective } = classifierFor(
        { ...settings, sequenceLength },
        { tokenizer, features },
        numLabels,
      );
      const { numFeatures: inputSize } = features;
      const makeModel = () =>
        new Mlp({ inputSize, hiddenSizes, numLabels, hiddenAct, dropout, sparseInput: true });
      const size = `${count(rows)} texts of ${settings.data} with ${numLabels} labels, ${inputSize.toLocaleString('en-US')} features`;
      return { objective, data, tokenizer, vocabSize, labelNames, size, makeModel, sequenceLength };
    },
  },
  completion: {
    architectures: ['decoder'],
    family: 'gpt2',
    async open(settings, known) {
      const files = partFiles(settings.data, settings.validData);
      const data = await promptCompletionData(files, rowOptions(settings, known));
      const { tokenizer } = data;
      const eos = completionEnd(tokenizer);
      const { labelSmoothing } = settings;
      const objective = completion({
        lengths: lengthsUpTo(sequenceLengthFrom(settings)),
        eos,
        labelSmoothing,
      });
      const size = `${count(data.parts.train!.source)} completions of ${settings.data}`;
      return { objective, data, tokenizer, vocabSize: tokenizer.vocabSize, size, modelOf: decoderOf };
    },
  },
};

/** How a classifier reads texts: as features, or as tokens, an encoder with one before them whose hidden state can stand for the whole. */
export function classifierFor(
  settings: TrainSettings,
  { tokenizer, features }: { tokenizer: Tokenizer; features?: BagOfWords },
  numLabels: number,
): { objective: Objective<Module, LabelledData>; vocabSize: number } {
  const lengths = lengthsUpTo(sequenceLengthFrom(settings));
  const { labelSmoothing } = settings;
  if (features) {
    const objective = bagOfWordsClassification({ numLabels, features, lengths, labelSmoothing });
    return { objective: objective as Objective<Module, LabelledData>, vocabSize: tokenizer.vocabSize };
  }
  const isEncoder = architectureOf(settings.modelType ?? kinds.classification.family!) === 'encoder';
  // Both tokens of a masked language model, so that a classifier can start from one.
  const { ids, vocabSize } = appendTokens(tokenizer, isEncoder ? modelTokens.encoder : []);
  const objective = classification({ numLabels, lengths, cls: ids.cls, labelSmoothing });
  return { objective: objective as Objective<Module, LabelledData>, vocabSize };
}

/** Of the text of a training part that has the most, within what a batch of such rows can well take. */
function mostFeatures(rows: TokenRows, features: BagOfWords): number {
  let most = 1;
  for (const ids of idsOf(rows)) most = Math.max(most, features.encode(ids).ids.length);
  return Math.min(most, 2048);
}

function corruptionKind(names: readonly string[]): Kind {
  return {
    architectures: ['encoderDecoder'],
    family: 'bart',
    async open(settings, known) {
      const { data, size } = await openText(settings, known, modelTokens.encoderDecoder);
      const { ids, vocabSize } = appendTokens(data.tokenizer, [...modelTokens.encoderDecoder, ...names]);
      const { noiseDensity, meanSpanLength, labelSmoothing } = settings;
      const sequenceLength = sequenceLengthFrom(settings) - 1; // leaves room for the end of the target
      const density = noiseDensity === undefined ? {} : { noiseDensity };
      const common = {
        sequenceLength,
        meanSpanLength,
        labelSmoothing,
        bos: ids.bos,
        eos: ids.eos,
        ...density,
      };
      const objective =
        settings.objective === 'denoising'
          ? denoising({ ...common, mask: ids.mask })
          : spanCorruption({ ...common, sentinels: names.map((name) => ids[name]) });
      return { objective, data, tokenizer: data.tokenizer, vocabSize, size, modelOf: encoderDecoderOf };
    },
  };
}

/** Objectives whose data are read as they stand. */
const uncleaned: readonly ObjectiveName[] = ['sequence-to-sequence', 'completion'];

const partFiles = (train: string, valid: string | undefined) =>
  valid === undefined ? { train } : { train, valid };

const rowOptions = (settings: TrainSettings, known: KnownTask) => ({
  tokenizer: known.tokenizer ?? tokenizerFrom(settings),
  vocabSize: settings.vocabSize,
  minCount: settings.minCount,
  signal: known.signal,
});

const labelledOptions = (settings: TrainSettings, known: KnownTask) => ({
  ...rowOptions(settings, known),
  clean: settings.clean,
  labelNames: known.labelNames,
});

const count = (rows: TokenRows): string => rows.count.toLocaleString('en-US');

/** Lengths for batches of texts of up to `longest` tokens: halves of it, at least 16. */
function lengthsUpTo(longest: number): number[] {
  const lengths = [longest];
  while (lengths[0] >= 32 && lengths.length < 6) lengths.unshift(Math.ceil(lengths[0] / 2));
  return lengths;
}

/** Opens what the settings of a run name. Throws ConfigError and DataError. */
export async function openTask(settings: TrainSettings, known: KnownTask = {}): Promise<Task> {
  const kind = kinds[settings.objective];
  const modelType = settings.modelType ?? kind.family;
  if (modelType && !kind.family) {
    throw new ConfigError(
      `the objective ${settings.objective} has a model of its own, no ${modelType}; leave modelType out`,
    );
  }
  if (modelType && !kind.architectures.includes(architectureOf(modelType))) {
    throw new ConfigError(
      `modelType ${modelType} cannot learn the objective ${settings.objective}, which needs ${kind.architectures
        .map((name) =>
          name === 'encoderDecoder' ? 'an encoder-decoder' : name === 'decoder' ? 'a decoder' : 'an encoder',
        )
        .join(' or ')}; use ${kind.family}`,
    );
  }
  if (settings.packDocuments && settings.objective !== 'causal') {
    throw new ConfigError(
      `packDocuments is for the objective causal; ${settings.objective} has no mask that ends with a document`,
    );
  }
  if (settings.clean !== 'none' && uncleaned.includes(settings.objective)) {
    throw new ConfigError(
      `clean is for texts and labelled texts; the files of ${settings.objective} are taken as they are, so clean them yourself`,
    );
  }
  const {
    objective,
    sequenceLength = sequenceLengthFrom(settings),
    ...opened
  } = await kind.open(settings, known);
  const vocabSize = Math.max(opened.vocabSize, known.vocabSize ?? 0);
  const kept = Object.keys({ ...dataEntries, ...objectiveEntries }) as (keyof TrainSettings)[];
  return {
    ...opened,
    vocabSize,
    objective: objective as Task['objective'],
    makeModel: () =>
      'makeModel' in opened
        ? opened.makeModel()
        : opened.modelOf(transformerConfig({ ...settings, modelType, vocabSize } as never)),
    settings: {
      ...Object.fromEntries(kept.map((name) => [name, settings[name]])),
      modelType,
      sequenceLength,
      labelNames: opened.labelNames,
    },
  };
}
