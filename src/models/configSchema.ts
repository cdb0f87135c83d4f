import * as v from 'valibot';
import { hiddenActs } from '../nn/index.js';
import { modelTypes, normalizations, positionEmbeddings } from './config.js';
import { poolings } from './pooling.js';
import {
  choice,
  fraction,
  nonNegativeInteger,
  onOff,
  positiveInteger,
  positiveNumber,
} from './settingFields.js';

const fromModelType = { defaultFrom: 'set by modelType' };
const fromDropout = { defaultFrom: 'dropout' };

/** The settings of a Transformer, under Hugging Face's names in camelCase. The vocabulary's size follows from the tokenizer. */
export const modelEntries = {
  modelType: v.optional(
    choice(
      modelTypes,
      'Family whose architecture the settings below start from: gpt2 and llama are decoders, bert an encoder, bart and marian both',
      { defaultFrom: 'the objective: gpt2, bert, bart or marian' },
    ),
  ),
  hiddenSize: v.optional(positiveInteger('Width of the residual stream', { unit: 'features' }), 128),
  numHiddenLayers: v.optional(
    positiveInteger('Blocks, of the encoder where there are two', { unit: 'layers' }),
    4,
  ),
  numDecoderLayers: v.optional(
    positiveInteger('Blocks of the decoder behind an encoder', {
      unit: 'layers',
      defaultFrom: 'numHiddenLayers',
    }),
  ),
  numAttentionHeads: v.optional(positiveInteger('Query heads of a block', { unit: 'heads' }), 4),
  numKeyValueHeads: v.optional(
    positiveInteger('Key and value heads of a block, each shared by a group of query heads', {
      unit: 'heads',
      defaultFrom: 'numAttentionHeads',
    }),
  ),
  headDim: v.optional(
    positiveInteger('Width of a head', { unit: 'features', defaultFrom: 'hiddenSize / numAttentionHeads' }),
  ),
  intermediateSize: v.optional(
    positiveInteger('Width inside the feed-forward part', {
      unit: 'features',
      defaultFrom: '4 x hiddenSize; 8/3 of it for swiglu, rounded up to a multiple of 64',
    }),
  ),
  maxPositionEmbeddings: v.optional(positiveInteger('Longest context of the model', { unit: 'tokens' }), 64),
  positionEmbedding: v.optional(choice(positionEmbeddings, 'How positions enter the model', fromModelType)),
  slidingWindow: v.optional(
    nonNegativeInteger(
      'Most recent tokens that a token sees, itself included, in an encoder as many after it, with 0 all',
      {
        unit: 'tokens',
      },
    ),
    0,
  ),
  normalization: v.optional(choice(normalizations, 'Normalisation in a block', fromModelType)),
  normalizeBefore: v.optional(
    onOff('Normalise before each part of a block instead of after each addition', fromModelType),
  ),
  normalizeEmbedding: v.optional(onOff('Normalise the sum of the embeddings', fromModelType)),
  scaleEmbedding: v.optional(onOff('Multiply embeddings of tokens by sqrt(hiddenSize)', fromModelType)),
  hiddenAct: v.optional(
    choice(
      hiddenActs,
      'Activation of the feed-forward part: gelu is exact, gelu_new its tanh form, swiglu gated by SiLU',
      { defaultFrom: 'set by modelType; relu for bag-of-words' },
    ),
  ),
  tieWordEmbeddings: v.optional(
    onOff('Use the embedding matrix as the output projection too', fromModelType),
  ),
  shareEncoderDecoderEmbeddings: v.optional(
    onOff('Look source and target up in one embedding matrix', { defaultFrom: 'on, for bart and marian' }),
  ),
  typeVocabSize: v.optional(
    nonNegativeInteger('Segments that have an embedding, with 0 none', {
      unit: 'segments',
      defaultFrom: '2, for bert',
    }),
  ),
  bias: v.optional(onOff('Biases in linear layers and LayerNorm', fromModelType)),
  layerNormEps: v.optional(positiveNumber('Added to the variance in normalisation', fromModelType)),
  ropeTheta: v.optional(positiveNumber('Base of the wavelengths of rotary positions'), 10_000),
  initializerRange: v.optional(positiveNumber('Standard deviation of the initial weights'), 0.02),
  dropout: v.optional(fraction('Probability of dropping a value, wherever none is given below'), 0),
  embdPdrop: v.optional(fraction('Dropout after the embeddings', fromDropout)),
  residPdrop: v.optional(fraction('Dropout before each addition to the residual stream', fromDropout)),
  attnPdrop: v.optional(fraction('Dropout of attention weights', fromDropout)),
} satisfies v.ObjectEntries;

/** The settings of a classifier over a Transformer; the number of classes follows from the data. */
export const classifierEntries = {
  pooling: v.optional(
    choice(poolings, 'Hidden states that are classified: their mean, the first or the last', {
      defaultFrom: 'last for a decoder, first for an encoder',
    }),
  ),
  classifierDropout: v.optional(fraction('Dropout of what is classified', { defaultFrom: 'residPdrop' })),
} satisfies v.ObjectEntries;

export const modelSettingsSchema = v.strictObject(modelEntries);

/** As given: what follows from other settings may be missing. */
export type ModelSettings = v.InferOutput<typeof modelSettingsSchema>;
