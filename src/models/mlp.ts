import { ConfigError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import {
  dropoutInTraining,
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
}

export type MlpOptions = Partial<MlpConfig> & Pick<MlpConfig, 'inputSize' | 'hiddenSizes' | 'numLabels'>;

/** Fills in defaults. Throws ConfigError. */
export function mlpConfig(options: MlpOptions): MlpConfig {
  const { inputSize, hiddenSizes, numLabels, hiddenAct = 'relu', dropout = 0 } = options;
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
  return { modelType: 'mlp', inputSize, hiddenSizes: [...hiddenSizes], numLabels, hiddenAct, dropout };
}

/** Dense layers with an activation between them (Rumelhart et al. 1986); weights start as Glorot & Bengio 2010 advise. */
export class Mlp extends Module {
  readonly config: MlpConfig;
  readonly layers: Linear[];

  constructor(options: MlpOptions) {
    super();
    this.config = mlpConfig(options);
    const { inputSize, hiddenSizes, numLabels } = this.config;
    const sizes = [inputSize, ...hiddenSizes, numLabels];
    this.layers = sizes
      .slice(1)
      .map((size, index) => new Linear(sizes[index], size, { initialization: glorotUniform }));
  }

  /** float32 [B, inputSize] to logits [B, numLabels]. */
  forward({ features }: { features: Tensor }): { logits: Tensor } {
    const { hiddenAct, dropout } = this.config;
    const { kind } = hiddenActOf(hiddenAct);
    const [last, ...hidden] = [...this.layers].reverse();
    const inner = hidden.reduceRight(
      (x, layer) => dropoutInTraining(activation(layer.forward(x), kind), dropout),
      features,
    );
    return { logits: last.forward(inner) };
  }
}
