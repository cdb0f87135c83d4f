import * as v from 'valibot';
import { decoderTypes } from './config.js';
import { choice, fraction, onOff, positiveInteger, positiveNumber } from './settingFields.js';

const fromModelType = { defaultFrom: 'set by modelType' };
const fromDropout = { defaultFrom: 'dropout' };

/** The settings of a decoder, under Hugging Face's names in camelCase. The vocabulary's size follows from the tokenizer. */
export const modelEntries = {
  modelType: v.optional(
    choice(decoderTypes, 'Family whose architecture the settings below start from'),
    'gpt2',
  ),
  hiddenSize: v.optional(positiveInteger('Width of the residual stream', { unit: 'features' }), 128),
  numHiddenLayers: v.optional(positiveInteger('Decoder blocks', { unit: 'layers' }), 4),
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
  positionEmbedding: v.optional(
    choice(
      ['learned', 'rotary', 'sinusoidal', 'alibi', 'none'],
      'How positions enter the model',
      fromModelType,
    ),
  ),
  normalization: v.optional(
    choice(['layerNorm', 'rmsNorm'], 'Normalisation before each part of a block', fromModelType),
  ),
  hiddenAct: v.optional(
    choice(
      ['gelu', 'gelu_new', 'relu', 'silu', 'swiglu'],
      'Activation of the feed-forward part: gelu is exact, gelu_new its tanh form, swiglu gated by SiLU',
      fromModelType,
    ),
  ),
  tieWordEmbeddings: v.optional(
    onOff('Use the embedding matrix as the output projection too', fromModelType),
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

export const modelSettingsSchema = v.strictObject(modelEntries);

/** As given: what follows from other settings may be missing. */
export type ModelSettings = v.InferOutput<typeof modelSettingsSchema>;
