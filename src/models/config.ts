import { ConfigError, divisorsNear } from '../errors.js';

/** Names and presets follow a published family; its checkpoints carry the family's tensor names. */
export type ModelType = 'gpt2' | 'llama';

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
  /** Width of the feed-forward layer. Default: 4 hiddenSize; with swiglu 8/3 hiddenSize, rounded up to 32. */
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

type Preset = Omit<
  DecoderConfig,
  | 'modelType'
  | 'vocabSize'
  | 'hiddenSize'
  | 'numHiddenLayers'
  | 'numAttentionHeads'
  | 'numKeyValueHeads'
  | 'headDim'
  | 'intermediateSize'
  | 'maxPositionEmbeddings'
>;

const shared = {
  layerNormEps: 1e-5,
  ropeTheta: 10000,
  initializerRange: 0.02,
  embdPdrop: 0,
  attnPdrop: 0,
  residPdrop: 0,
};

/** What a family sets where the user says nothing. */
export const presets: Readonly<Record<ModelType, Preset>> = {
  gpt2: {
    ...shared,
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    hiddenAct: 'gelu_new',
    bias: true,
    tieWordEmbeddings: true,
  },
  llama: {
    ...shared,
    positionEmbedding: 'rotary',
    normalization: 'rmsNorm',
    hiddenAct: 'swiglu',
    bias: false,
    tieWordEmbeddings: false,
  },
};

/** What must be said; all else has a default. */
export type DecoderOptions = Partial<DecoderConfig> &
  Pick<
    DecoderConfig,
    'vocabSize' | 'hiddenSize' | 'numHiddenLayers' | 'numAttentionHeads' | 'maxPositionEmbeddings'
  >;

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
  const given = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined && value !== null),
  );
  const hiddenAct = options.hiddenAct ?? presets[modelType].hiddenAct;
  const { hiddenSize, numAttentionHeads } = options;
  const config = {
    ...presets[modelType],
    modelType,
    numKeyValueHeads: numAttentionHeads,
    headDim: hiddenSize / numAttentionHeads,
    intermediateSize: hiddenAct === 'swiglu' ? Math.ceil((8 * hiddenSize) / 3 / 32) * 32 : 4 * hiddenSize,
    ...given,
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
