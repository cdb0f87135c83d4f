import { ConfigError, divisorsNear } from '../errors.js';

/** Names and presets follow a published family; its checkpoints carry the family's tensor names. */
export const modelTypes = ['gpt2', 'llama'] as const;
export type ModelType = (typeof modelTypes)[number];

/** A decoder-only Transformer. Sizes count elements; names are Hugging Face's, in camelCase. */
export interface DecoderConfig {
  modelType: ModelType;
  vocabSize: number;
  hiddenSize: number;
  numHiddenLayers: number;
  numAttentionHeads: number;
  /** Heads of keys and values. Default: numAttentionHeads. */
  numKeyValueHeads: number;
  /** Default hiddenSize / numAttentionHeads. */
  headDim: number;
  /** Width of the feed-forward layer. Default: 4 hiddenSize; with swiglu 8/3 of it, rounded up to 64. */
  intermediateSize: number;
  /** The longest context, in tokens. */
  maxPositionEmbeddings: number;
  positionEmbedding: 'learned' | 'rotary' | 'sinusoidal' | 'none';
  normalization: 'layerNorm' | 'rmsNorm';
  /** Added to the variance or mean square inside a norm. */
  layerNormEps: number;
  hiddenAct: 'gelu' | 'gelu_new' | 'relu' | 'silu' | 'sigmoid' | 'tanh' | 'swiglu';
  /** Biases of projections and layer norms. */
  bias: boolean;
  tieWordEmbeddings: boolean;
  ropeTheta: number;
  /** Deviation of normally distributed weights. */
  initializerRange: number;
  embdPdrop: number;
  attnPdrop: number;
  residPdrop: number;
}

type Preset = Pick<
  DecoderConfig,
  'positionEmbedding' | 'normalization' | 'layerNormEps' | 'hiddenAct' | 'bias' | 'tieWordEmbeddings'
>;

/** The choices that make up a family. */
export const presets: Readonly<Record<ModelType, Preset>> = {
  // Radford et al. 2019, as released: https://huggingface.co/openai-community/gpt2/blob/main/config.json
  gpt2: {
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    layerNormEps: 1e-5,
    hiddenAct: 'gelu_new',
    bias: true,
    tieWordEmbeddings: true,
  },
  // Touvron et al. 2023, section 2.2, and the released configuration.
  llama: {
    positionEmbedding: 'rotary',
    normalization: 'rmsNorm',
    layerNormEps: 1e-6,
    hiddenAct: 'swiglu',
    bias: false,
    tieWordEmbeddings: false,
  },
};

/** What must be said; all else has a default. `dropout` stands for the three probabilities that are not given. */
export type DecoderOptions = Partial<DecoderConfig> & { dropout?: number } & Pick<
    DecoderConfig,
    RequiredName
  >;

const requiredNames = [
  'vocabSize',
  'hiddenSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'maxPositionEmbeddings',
] as const;
type RequiredName = (typeof requiredNames)[number];

const counts = [
  'vocabSize',
  'hiddenSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'numKeyValueHeads',
  'headDim',
  'intermediateSize',
  'maxPositionEmbeddings',
] as const;

/** Fills in the family's defaults and checks that the sizes go together. */
export function decoderConfig(options: DecoderOptions): DecoderConfig {
  const modelType = options.modelType ?? 'gpt2';
  if (!(modelType in presets)) {
    throw new ConfigError(
      `modelType '${modelType}' is unknown; use one of ${Object.keys(presets).join(', ')}`,
    );
  }
  const { hiddenSize, numAttentionHeads, dropout = 0 } = options;
  const hiddenAct = options.hiddenAct ?? presets[modelType].hiddenAct;
  const complete: Omit<DecoderConfig, RequiredName> = {
    ...presets[modelType],
    modelType,
    hiddenAct,
    numKeyValueHeads: numAttentionHeads,
    headDim: hiddenSize / numAttentionHeads,
    // Two matrices of a gated layer do the work of one: 2/3 of 4 hiddenSize keeps the parameters equal (Shazeer 2020).
    intermediateSize: hiddenAct === 'swiglu' ? Math.ceil((8 * hiddenSize) / 3 / 64) * 64 : 4 * hiddenSize,
    ropeTheta: 10000,
    initializerRange: 0.02,
    embdPdrop: dropout,
    attnPdrop: dropout,
    residPdrop: dropout,
  };
  const names = [...Object.keys(complete), ...requiredNames] as (keyof DecoderConfig)[];
  const given = names.filter((name) => (options[name] ?? undefined) !== undefined);
  const config = {
    ...complete,
    ...Object.fromEntries(given.map((name) => [name, options[name]])),
  } as DecoderConfig;
  if (!Number.isInteger(config.headDim)) {
    const heads = divisorsNear(hiddenSize, numAttentionHeads).join(' or ');
    throw new ConfigError(
      `attention: hiddenSize ${hiddenSize} is not divisible by numAttentionHeads ${numAttentionHeads}; use ${heads}`,
      { hiddenSize, numAttentionHeads },
    );
  }
  for (const name of counts) {
    if (!Number.isSafeInteger(config[name]) || config[name] < 1) {
      throw new ConfigError(`${name} must be a positive whole number but is ${config[name]}`, {
        [name]: config[name],
      });
    }
  }
  if (numAttentionHeads % config.numKeyValueHeads !== 0) {
    const groups = divisorsNear(numAttentionHeads, config.numKeyValueHeads).join(' or ');
    throw new ConfigError(
      `attention: numAttentionHeads ${numAttentionHeads} is not a multiple of numKeyValueHeads ${config.numKeyValueHeads}; use ${groups}`,
    );
  }
  if (config.positionEmbedding === 'rotary' && config.headDim % 2 !== 0) {
    throw new ConfigError(
      `rotary positions need an even headDim but it is ${config.headDim}; change numAttentionHeads`,
    );
  }
  return config;
}
