// config.json as Hugging Face's transformers write and read it: our names in snake case, beside them the family's own.
import { CheckpointError } from '../errors.js';
import type { Module } from '../nn/index.js';
import { Classifier, type ClassifierOptions } from './classifier.js';
import {
  type AnyTransformerConfig,
  architectureOf,
  type ModelType,
  modelTypes,
  transformerConfig,
} from './config.js';
import { Decoder } from './decoder.js';
import { Encoder, MaskedLanguageModel } from './encoder.js';
import { EncoderDecoder } from './encoderDecoder.js';
import { Mlp, type MlpOptions } from './mlp.js';

/** Models with a config, which a checkpoint's config.json can bring back. */
export type ConfiguredModel = Decoder | Encoder | MaskedLanguageModel | EncoderDecoder | Classifier | Mlp;

export const isConfigured = (model: Module): model is ConfiguredModel =>
  [Decoder, Encoder, MaskedLanguageModel, EncoderDecoder, Classifier, Mlp].some(
    (kind) => model instanceof kind,
  );

/** Tokens that a model reads; undefined where it reads none. */
export const vocabSizeOf = ({ config }: ConfiguredModel): number | undefined => {
  if ('body' in config) return config.body.vocabSize;
  return 'vocabSize' in config ? config.vocabSize : undefined;
};

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
const snakeKeys = (config: object) =>
  Object.fromEntries(Object.entries(config).map(([name, value]) => [snake(name), value]));

/** transformers' classes: of the family's Transformer with its usual head, and over classes. */
const architectures: Readonly<Record<ModelType, readonly [model: string, classifier: string]>> = {
  gpt2: ['GPT2LMHeadModel', 'GPT2ForSequenceClassification'],
  llama: ['LlamaForCausalLM', 'LlamaForSequenceClassification'],
  bert: ['BertModel', 'BertForSequenceClassification'],
  bart: ['BartForConditionalGeneration', 'BartForSequenceClassification'],
  marian: ['MarianMTModel', 'MarianForSequenceClassification'],
};

/** Names that only a family's own config class knows, as transformers 4.57 documents them. */
function familyFields(config: AnyTransformerConfig): Record<string, unknown> {
  const { hiddenAct, layerNormEps, intermediateSize, attnPdrop, residPdrop } = config;
  switch (config.modelType) {
    case 'gpt2':
      return {
        activation_function: hiddenAct,
        layer_norm_epsilon: layerNormEps,
        n_inner: intermediateSize,
      };
    case 'llama':
      return { hidden_act: hiddenAct === 'swiglu' ? 'silu' : hiddenAct, rms_norm_eps: layerNormEps };
    case 'bert':
      return { hidden_dropout_prob: residPdrop, attention_probs_dropout_prob: attnPdrop };
    case 'bart':
    case 'marian':
      return {
        is_encoder_decoder: true,
        d_model: config.hiddenSize,
        encoder_layers: config.numHiddenLayers,
        decoder_layers: config.numDecoderLayers,
        encoder_attention_heads: config.numAttentionHeads,
        decoder_attention_heads: config.numAttentionHeads,
        encoder_ffn_dim: intermediateSize,
        decoder_ffn_dim: intermediateSize,
        activation_function: hiddenAct,
        dropout: residPdrop,
        attention_dropout: attnPdrop,
        init_std: config.initializerRange,
      };
  }
}

const transformerJson = (config: AnyTransformerConfig, architecture: string) => ({
  architectures: [architecture],
  ...snakeKeys(config),
  ...familyFields(config),
});

/** config.json of a model. */
export function toConfigJson(model: ConfiguredModel): Record<string, unknown> {
  if (model instanceof Mlp) return { architectures: ['Mlp'], ...snakeKeys(model.config) };
  if (model instanceof Classifier) {
    const { body, ...own } = model.config;
    return { ...transformerJson(body, architectures[body.modelType][1]), ...snakeKeys(own) };
  }
  const { config } = model;
  const isMasked = model instanceof MaskedLanguageModel;
  return transformerJson(config, isMasked ? 'BertForMaskedLM' : architectures[config.modelType][0]);
}

/** Names that published configs use, and what they mean here. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  nEmbd: ['hiddenSize'],
  nLayer: ['numHiddenLayers'],
  nHead: ['numAttentionHeads'],
  nPositions: ['maxPositionEmbeddings'],
  nInner: ['intermediateSize'],
  activationFunction: ['hiddenAct'],
  layerNormEpsilon: ['layerNormEps'],
  rmsNormEps: ['layerNormEps'],
  hiddenDropoutProb: ['residPdrop', 'embdPdrop'],
  attentionProbsDropoutProb: ['attnPdrop'],
  attentionDropout: ['attnPdrop'],
  dModel: ['hiddenSize'],
  encoderLayers: ['numHiddenLayers'],
  decoderLayers: ['numDecoderLayers'],
  encoderAttentionHeads: ['numAttentionHeads'],
  encoderFfnDim: ['intermediateSize'],
  initStd: ['initializerRange'],
};

/** Activations by other names. */
const hiddenActAliases: Readonly<Record<string, string>> = {
  swish: 'silu',
  gelu_pytorch_tanh: 'gelu_new',
  gelu_fast: 'gelu_new',
};

type Fields = Record<string, unknown>;

/** The fields of a config.json under our names; what our names say goes before what the family's say. */
function fieldsOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CheckpointError('config.json must hold an object');
  }
  const given: Fields = {};
  const entries = Object.entries(value).map(([key, entry]) => [camel(key), entry] as const);
  for (const [name, entry] of entries) for (const own of aliases[name] ?? []) given[own] = entry;
  for (const [name, entry] of entries) if (!aliases[name]) given[name] = entry;
  const { hiddenAct } = given;
  given.hiddenAct = hiddenActAliases[hiddenAct as string] ?? hiddenAct;
  if (given.modelType === 'llama' && hiddenAct === 'silu') given.hiddenAct = 'swiglu';
  return given;
}

/** What a family can have but models here have not: [field, the values that mean "not there"]. */
const unsupported: readonly [name: string, ...absent: unknown[]][] = [
  ['ropeScaling', null],
  ['attentionBias', false],
  ['mlpBias', false],
  ['positionEmbeddingType', 'absolute', null],
  ['scaleAttnByInverseLayerIdx', false],
  ['addCrossAttention', false],
];

function refuseUnsupported(given: Fields): void {
  for (const [name, ...absent] of unsupported) {
    if (given[name] === undefined || absent.includes(given[name])) continue;
    throw new CheckpointError(
      `config.json: ${snake(name)} is ${JSON.stringify(given[name])}, but only ${JSON.stringify(absent[0])} is supported`,
    );
  }
  for (const [decoder, encoder] of [
    ['decoderAttentionHeads', 'numAttentionHeads'],
    ['decoderFfnDim', 'intermediateSize'],
  ]) {
    if (given[decoder] === undefined || given[decoder] === given[encoder]) continue;
    throw new CheckpointError(
      `config.json: ${snake(decoder)} is ${given[decoder]} but the encoder has ${given[encoder]}; only equal ones are supported`,
    );
  }
}

/** Reads the config.json of a Transformer, of this or of Hugging Face's making. Throws CheckpointError for any other. */
export function fromConfigJson(value: unknown): AnyTransformerConfig {
  const given = fieldsOf(value);
  if (!modelTypes.includes(given.modelType as ModelType)) {
    throw new CheckpointError(
      `config.json: model_type is ${JSON.stringify(given.modelType)}, but one of ${modelTypes.join(', ')} is expected`,
    );
  }
  refuseUnsupported(given);
  return transformerConfig(given as never);
}

/** The model that a config.json describes. Throws CheckpointError. */
export function modelFromConfigJson(value: unknown): ConfiguredModel {
  const given = fieldsOf(value);
  if (given.modelType === 'mlp') return new Mlp(given as unknown as MlpOptions);
  const config = fromConfigJson(value);
  const architecture = String((given.architectures as unknown[] | undefined)?.[0] ?? '');
  if (architecture.endsWith('ForSequenceClassification')) {
    if (architectureOf(config.modelType) === 'encoderDecoder') {
      throw new CheckpointError(
        `config.json: ${architecture} is not supported; classifiers stand over gpt2, llama or bert`,
      );
    }
    return new Classifier({ ...given, numLabels: labelsOf(given), body: config } as ClassifierOptions);
  }
  const isBare = config.modelType === 'bert' && !/ForMaskedLM$|ForPreTraining$/.test(architecture);
  return isBare ? new Encoder(config) : languageModel(config);
}

/** The model of a family that is trained on text alone: BERT's says what stood at masked places. */
export function languageModel(config: AnyTransformerConfig): Decoder | MaskedLanguageModel | EncoderDecoder {
  switch (config.modelType) {
    case 'gpt2':
    case 'llama':
      return new Decoder(config);
    case 'bert':
      return new MaskedLanguageModel(config);
    default:
      return new EncoderDecoder(config);
  }
}

/** transformers write a number of labels only as the table of their names, and none for two. */
function labelsOf({ numLabels, id2label }: Fields): unknown {
  return numLabels ?? (id2label ? Object.keys(id2label).length : 2);
}
