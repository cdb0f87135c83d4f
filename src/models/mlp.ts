import { ConfigError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import {
  dropoutInTraining,
  EmbeddingBag,
  glorotUniform,
  type HiddenAct,
  hiddenActOf,
  Linear,
  Module,
} from '../nn/index.js';
import { activation } from '../ops/index.js';

/** A network of dense layers over features of any kind. */
export interface MlpConfig {
  modelType: 'mlp';
  /** Number of features. */
  inputSize: number;
  /** Widths of the hidden layers; none makes it a softmax regression, as over bags of words. */
  hiddenSizes: readonly number[];
  /** Number of outputs: classes, or one. */
  numLabels: number;
  /** Any of hiddenActs without a gate. Default relu. */
  hiddenAct: HiddenAct;
  /** Dropout of hidden layers. Default 0. */
  dropout: number;
  /**
   * Whether features come as the ids and weights of those that are not 0, as those of texts do. The first layer's weight is then
   * [inputSize, outputs]. Default false.
   */
  sparseInput: boolean;
}

export type MlpOptions = Partial<MlpConfig> & Pick<MlpConfig, 'inputSize' | 'hiddenSizes' | 'numLabels'>;

/** Fills in defaults. Throws ConfigError. */
export function mlpConfig(options: MlpOptions): MlpConfig {
  const { inputSize, hiddenSizes, numLabels, hiddenAct = 'relu', dropout = 0, sparseInput = false } = options;
  const sizes: [name: string, value: number][] = [
    ['inputSize', inputSize],
    ...hiddenSizes.map((size, index): [string, number] => [`hiddenSizes[${index}]`, size]),
    ['numLabels', numLabels],
  ];
  for (const [name, value] of sizes) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new ConfigError(`${name} must be a positive whole number but is ${value}`, { [name]: value });
  }
  if (hiddenActOf(hiddenAct).gated) {
    throw new ConfigError(
      `hiddenAct ${hiddenAct} needs a gate, which a dense layer has not; use relu or gelu`,
    );
  }
  const sized = { inputSize, hiddenSizes: [...hiddenSizes], numLabels };
  return { modelType: 'mlp', ...sized, hiddenAct, dropout, sparseInput };
}

/** Features of B rows: all of them, float32 [B, inputSize], or W of each row, int32 and float32 [B, W], of which any may weigh 0. */
export type MlpInputs =
  | { readonly features: Tensor }
  | { readonly featureIds: Tensor; readonly featureWeights: Tensor };

/** Dense layers with an activation between them (Rumelhart et al. 1986); weights start as Glorot & Bengio 2010 advise. */
export class Mlp extends Module {
  readonly config: MlpConfig;
  readonly layers: readonly [Linear | EmbeddingBag, ...Linear[]];

  constructor(options: MlpOptions) {
    super();
    this.config = mlpConfig(options);
    const { inputSize, hiddenSizes, numLabels, sparseInput } = this.config;
    const [first, ...sizes] = [...hiddenSizes, numLabels];
    const dense = (input: number, output: number) =>
      new Linear(input, output, { initialization: glorotUniform });
    this.layers = [
      sparseInput ? new EmbeddingBag(inputSize, first) : dense(inputSize, first),
      ...sizes.map((size, index) => dense(hiddenSizes[index], size)),
    ];
  }

  /** Features to logits [B, numLabels]. */
  forward(inputs: MlpInputs): { logits: Tensor } {
    const { hiddenAct, dropout } = this.config;
    const { kind } = hiddenActOf(hiddenAct);
    const [, ...others] = this.layers;
    const logits = others.reduce(
      (x, layer) => layer.forward(dropoutInTraining(activation(x, kind), dropout)),
      this.first(inputs),
    );
    return { logits };
  }

  private first(inputs: MlpInputs): Tensor {
    const [layer] = this.layers;
    if (layer instanceof EmbeddingBag) {
      if ('featureIds' in inputs) return layer.forward(inputs.featureIds, inputs.featureWeights);
      throw new ConfigError('an Mlp with sparseInput takes featureIds and featureWeights');
    }
    if ('features' in inputs) return layer.forward(inputs.features);
    throw new ConfigError('an Mlp without sparseInput takes features');
  }
}
