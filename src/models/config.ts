import { ConfigError, divisorsNear } from '../errors.js';
import { type HiddenAct, hiddenActs } from '../nn/index.js';

/** Names and presets follow a published family; its checkpoints carry the family's tensor names. */
export const decoderTypes = ['gpt2', 'llama'] as const;
export const encoderTypes = ['bert'] as const;
export const encoderDecoderTypes = ['bart', 'marian'] as const;
export const modelTypes = [...decoderTypes, ...encoderTypes, ...encoderDecoderTypes] as const;
export type DecoderType = (typeof decoderTypes)[number];
export type EncoderType = (typeof encoderTypes)[number];
export type EncoderDecoderType = (typeof encoderDecoderTypes)[number];
export type ModelType = (typeof modelTypes)[number];

export const positionEmbeddings = ['learned', 'rotary', 'sinusoidal', 'alibi', 'none'] as const;
export const normalizations = ['layerNorm', 'rmsNorm'] as const;

/** What all Transformers have. Sizes count elements; names are Hugging Face's, in camelCase. */
export interface TransformerConfig {
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
  positionEmbedding: (typeof positionEmbeddings)[number];
  /** Number of most recent tokens that a token sees, itself included, in an encoder as many after it; 0 means all. */
  slidingWindow: number;
  normalization: (typeof normalizations)[number];
  /** Whether norms stand before the parts of a layer, with one more behind the last layer, or after each addition. */
  normalizeBefore: boolean;
  /** Whether the sum of the embeddings is normalised. */
  normalizeEmbedding: boolean;
  /** Whether embeddings of tokens are multiplied by sqrt(hiddenSize). */
  scaleEmbedding: boolean;
  /** Added to the variance or mean square inside a norm. */
  layerNormEps: number;
  hiddenAct: HiddenAct;
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

/** A decoder-only Transformer: GPT-2, Llama and what lies between them. */
export interface DecoderConfig extends TransformerConfig {
  modelType: DecoderType;
}

/** An encoder (BERT). */
export interface EncoderConfig extends TransformerConfig {
  modelType: EncoderType;
  /** Number of segments that have an embedding; 0 for none. */
  typeVocabSize: number;
  /** Whether a dense layer with tanh stands over the first token. */
  addPoolingLayer: boolean;
}

/** An encoder and a decoder (Vaswani et al. 2017, BART, Marian). The encoder has numHiddenLayers. */
export interface EncoderDecoderConfig extends TransformerConfig {
  modelType: EncoderDecoderType;
  numDecoderLayers: number;
  /** Vocabulary of the decoder. Default: vocabSize. */
  decoderVocabSize: number;
  /** Whether encoder and decoder look tokens up in one table. */
  shareEncoderDecoderEmbeddings: boolean;
}

export type AnyTransformerConfig = DecoderConfig | EncoderConfig | EncoderDecoderConfig;

const requiredNames = [
  'vocabSize',
  'hiddenSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'maxPositionEmbeddings',
] as const;
type RequiredName = (typeof requiredNames)[number];

/** What must be said; all else has a default. `dropout` stands for the three probabilities that are not given. */
type OptionsOf<Config extends TransformerConfig> = Partial<Config> & { dropout?: number } & Pick<
    Config,
    RequiredName
  >;
export type DecoderOptions = OptionsOf<DecoderConfig>;
export type EncoderOptions = OptionsOf<EncoderConfig>;
export type EncoderDecoderOptions = OptionsOf<EncoderDecoderConfig>;

/** All choices that a family makes. */
type Preset = Pick<
  TransformerConfig,
  | 'positionEmbedding'
  | 'normalization'
  | 'normalizeBefore'
  | 'normalizeEmbedding'
  | 'scaleEmbedding'
  | 'layerNormEps'
  | 'hiddenAct'
  | 'bias'
  | 'tieWordEmbeddings'
>;

/** The choices that make up a family. */
export const presets: Readonly<Record<ModelType, Preset>> = {
  // Radford et al. 2019, as released: https://huggingface.co/openai-community/gpt2/blob/main/config.json
  gpt2: {
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    normalizeBefore: true,
    normalizeEmbedding: false,
    scaleEmbedding: false,
    layerNormEps: 1e-5,
    hiddenAct: 'gelu_new',
    bias: true,
    tieWordEmbeddings: true,
  },
  // Touvron et al. 2023, section 2.2, and the released configuration.
  llama: {
    positionEmbedding: 'rotary',
    normalization: 'rmsNorm',
    normalizeBefore: true,
    normalizeEmbedding: false,
    scaleEmbedding: false,
    layerNormEps: 1e-6,
    hiddenAct: 'swiglu',
    bias: false,
    tieWordEmbeddings: false,
  },
  // Devlin et al. 2018, as released: https://huggingface.co/google-bert/bert-base-uncased/blob/main/config.json
  bert: {
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    normalizeBefore: false,
    normalizeEmbedding: true,
    scaleEmbedding: false,
    layerNormEps: 1e-12,
    hiddenAct: 'gelu',
    bias: true,
    tieWordEmbeddings: true,
  },
  // Lewis et al. 2019, section 2.1, and the released configuration.
  bart: {
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    normalizeBefore: false,
    normalizeEmbedding: true,
    scaleEmbedding: false,
    layerNormEps: 1e-5,
    hiddenAct: 'gelu',
    bias: true,
    tieWordEmbeddings: true,
  },
  // Vaswani et al. 2017, sections 3 and 5.4, which Marian (Junczys-Dowmunt et al. 2018) follows.
  marian: {
    positionEmbedding: 'sinusoidal',
    normalization: 'layerNorm',
    normalizeBefore: false,
    normalizeEmbedding: false,
    scaleEmbedding: true,
    layerNormEps: 1e-5,
    hiddenAct: 'relu',
    bias: true,
    tieWordEmbeddings: true,
  },
};

/** Which of the three kinds of Transformer a family is, by name. */
export type Architecture = 'decoder' | 'encoder' | 'encoderDecoder';
export function architectureOf(modelType: ModelType): Architecture {
  if (includes(decoderTypes, modelType)) return 'decoder';
  return includes(encoderTypes, modelType) ? 'encoder' : 'encoderDecoder';
}

const includes = (names: readonly string[], name: string) => names.includes(name);

/** Fills in the family's defaults and checks that the sizes go together. Throws ConfigError. */
export const decoderConfig = (options: DecoderOptions): DecoderConfig =>
  complete(options, decoderTypes, {}) as DecoderConfig;

/** Fills in the family's defaults and checks that the sizes go together. Throws ConfigError. */
export function encoderConfig(options: EncoderOptions): EncoderConfig {
  return complete(options, encoderTypes, { typeVocabSize: 2, addPoolingLayer: true }) as EncoderConfig;
}

/** Fills in the family's defaults and checks that the sizes go together. Throws ConfigError. */
export function encoderDecoderConfig(options: EncoderDecoderOptions): EncoderDecoderConfig {
  const config = complete(options, encoderDecoderTypes, {
    numDecoderLayers: options.numHiddenLayers,
    decoderVocabSize: options.vocabSize,
    shareEncoderDecoderEmbeddings: true,
  }) as EncoderDecoderConfig;
  if (config.shareEncoderDecoderEmbeddings && config.decoderVocabSize !== config.vocabSize) {
    throw new ConfigError(
      `vocabSize ${config.vocabSize} and decoderVocabSize ${config.decoderVocabSize} cannot share one table; make them equal or set shareEncoderDecoderEmbeddings to false`,
    );
  }
  return config;
}

/** The config of any family, by its modelType. Throws ConfigError. */
export function transformerConfig(options: OptionsOf<TransformerConfig>): AnyTransformerConfig {
  const modelType = checkedType(options.modelType ?? 'gpt2', modelTypes);
  const byArchitecture = {
    decoder: decoderConfig,
    encoder: encoderConfig,
    encoderDecoder: encoderDecoderConfig,
  };
  return byArchitecture[architectureOf(modelType)]({ ...options, modelType } as never);
}

function checkedType(modelType: ModelType, types: readonly ModelType[]): ModelType {
  if (includes(types, modelType)) return modelType;
  throw new ConfigError(`modelType '${modelType}' is unknown here; use one of ${types.join(', ')}`);
}

type Special = Record<string, number | boolean>;

/** A config with every field filled in; `special` holds those that only some families have, with their defaults. */
function complete(
  options: OptionsOf<TransformerConfig>,
  types: readonly ModelType[],
  special: Special,
): TransformerConfig {
  const modelType = checkedType(options.modelType ?? types[0], types);
  const { hiddenSize, numAttentionHeads, dropout = 0 } = options;
  const hiddenAct = options.hiddenAct ?? presets[modelType].hiddenAct;
  const defaults: Omit<TransformerConfig, RequiredName> = {
    ...presets[modelType],
    modelType,
    hiddenAct,
    slidingWindow: 0,
    numKeyValueHeads: numAttentionHeads,
    headDim: hiddenSize / numAttentionHeads,
    // Two matrices of a gated layer do the work of one: 2/3 of 4 hiddenSize keeps the parameters equal (Shazeer 2020).
    intermediateSize: hiddenAct === 'swiglu' ? Math.ceil((8 * hiddenSize) / 3 / 64) * 64 : 4 * hiddenSize,
    ropeTheta: 10000,
    initializerRange: 0.02,
    embdPdrop: dropout,
    attnPdrop: dropout,
    residPdrop: dropout,
    ...special,
  };
  const known = options as unknown as Readonly<Record<string, unknown>>;
  const names = [...Object.keys(defaults), ...requiredNames];
  const given = names.filter((name) => (known[name] ?? undefined) !== undefined);
  const config = {
    ...defaults,
    ...Object.fromEntries(given.map((name) => [name, known[name]])),
  } as TransformerConfig;
  checkSizes(config, special);
  checkHeads(config);
  checkChoice('positionEmbedding', config.positionEmbedding, positionEmbeddings);
  checkChoice('normalization', config.normalization, normalizations);
  checkChoice('hiddenAct', config.hiddenAct, hiddenActs);
  return config;
}

const counts = [
  'vocabSize',
  'hiddenSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'numKeyValueHeads',
  'headDim',
  'intermediateSize',
  'maxPositionEmbeddings',
];
const countsOrNone = ['slidingWindow', 'typeVocabSize'];

function checkSizes(config: TransformerConfig, special: Special): void {
  const values = config as unknown as Readonly<Record<string, unknown>>;
  if (!Number.isInteger(config.headDim)) headsError(config);
  for (const [name, value] of Object.entries(values)) {
    const isCount = counts.includes(name) || typeof special[name] === 'number';
    const least = countsOrNone.includes(name) ? 0 : 1;
    if (!isCount && least === 1) continue;
    if (Number.isSafeInteger(value) && (value as number) >= least) continue;
    const wanted = least === 0 ? 'a whole number, or 0 for none,' : 'a positive whole number';
    throw new ConfigError(`${name} must be ${wanted} but is ${value}`, { [name]: value });
  }
}

function headsError({ hiddenSize, numAttentionHeads }: TransformerConfig): never {
  const heads = divisorsNear(hiddenSize, numAttentionHeads).join(' or ');
  throw new ConfigError(
    `attention: hiddenSize ${hiddenSize} is not divisible by numAttentionHeads ${numAttentionHeads}; use ${heads}`,
    { hiddenSize, numAttentionHeads },
  );
}

function checkHeads(config: TransformerConfig): void {
  const { numAttentionHeads, numKeyValueHeads, headDim, positionEmbedding, hiddenSize } = config;
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    const groups = divisorsNear(numAttentionHeads, numKeyValueHeads).join(' or ');
    throw new ConfigError(
      `attention: numAttentionHeads ${numAttentionHeads} is not a multiple of numKeyValueHeads ${numKeyValueHeads}; use ${groups}`,
    );
  }
  if (positionEmbedding === 'rotary' && headDim % 2 !== 0) {
    throw new ConfigError(
      `rotary positions need an even headDim but it is ${headDim}; change numAttentionHeads`,
    );
  }
  if (positionEmbedding === 'sinusoidal' && hiddenSize % 2 !== 0) {
    throw new ConfigError(`sinusoidal positions need an even hiddenSize but it is ${hiddenSize}`);
  }
}

function checkChoice(name: string, value: string, choices: readonly string[]): void {
  if (!includes(choices, value)) {
    throw new ConfigError(`${name} '${value}' is unknown; use one of ${choices.join(', ')}`);
  }
}
