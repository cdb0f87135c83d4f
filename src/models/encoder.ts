import type { Tensor } from '../graph/tensor.js';
import {
  constant,
  hiddenActOf,
  type LayerNorm,
  Linear,
  Module,
  normal,
  normOf,
  Parameter,
  type RmsNorm,
} from '../nn/index.js';
import { activation, add, embedding, matmul, reshape, slice, tanh, transpose } from '../ops/index.js';
import { type EncoderConfig, type EncoderOptions, encoderConfig } from './config.js';
import { TransformerStack } from './stack.js';

export interface EncoderInputs {
  /** int32 [B, T]. */
  inputIds: Tensor;
  /** int32 [B]: the first so many tokens of a row count, the rest is padding. Default: all. */
  lengths?: Tensor;
  /** int32 [B, T]: the segment of each token. Default: 0. */
  tokenTypeIds?: Tensor;
}

/** BERT (Devlin et al. 2018, arXiv:1810.04805): every token sees all tokens of its row. */
export class Encoder extends TransformerStack<EncoderConfig> {
  readonly pooler?: Linear;

  constructor(options: EncoderOptions) {
    const config = encoderConfig(options);
    const { hiddenSize, typeVocabSize, initializerRange } = config;
    super(config, { causal: false, numLayers: config.numHiddenLayers, typeVocabSize });
    if (config.addPoolingLayer) {
      this.pooler = new Linear(hiddenSize, hiddenSize, { initialization: normal(initializerRange) });
    }
  }

  /** `pooled` [B, hiddenSize] is tanh of a dense layer over the first token; only with `addPoolingLayer`. */
  forward(inputs: EncoderInputs): { hidden: Tensor; pooled?: Tensor } {
    const hidden = this.hidden(inputs);
    return { hidden, pooled: this.pooler && this.pooled(hidden) };
  }

  /** tanh of a dense layer over the first token: [B, T, hiddenSize] to [B, hiddenSize]. */
  pooled(hidden: Tensor): Tensor {
    const [rows, , hiddenSize] = hidden.shape;
    return tanh(this.pooler!.forward(reshape(slice(hidden, 1, 0, 1), [rows, hiddenSize])));
  }
}

export interface MaskedLanguageModelInputs extends EncoderInputs {
  /** int32 [N]: places row * T + token to score. Default: all, which costs a classifier over every token. */
  positions?: Tensor;
}

/** An encoder that says which tokens stood at masked places: a dense layer, a norm and the token embeddings (BERT). */
export class MaskedLanguageModel extends Module {
  readonly encoder: Encoder;
  readonly transform: Linear;
  readonly transformNorm: LayerNorm | RmsNorm;
  readonly head?: Linear;
  readonly bias: Parameter;

  constructor(options: EncoderOptions) {
    super();
    this.encoder = new Encoder({ ...options, addPoolingLayer: false });
    const { hiddenSize, vocabSize, initializerRange, normalization, layerNormEps, ...rest } = this.config;
    const initialization = normal(initializerRange);
    this.transform = new Linear(hiddenSize, hiddenSize, { initialization });
    this.transformNorm = normOf(normalization, hiddenSize, layerNormEps, rest.bias);
    if (!rest.tieWordEmbeddings)
      this.head = new Linear(hiddenSize, vocabSize, { bias: false, initialization });
    this.bias = new Parameter([vocabSize], constant(0));
  }

  get config(): EncoderConfig {
    return this.encoder.config;
  }

  get maxPositionEmbeddings(): number {
    return this.config.maxPositionEmbeddings;
  }

  /** Logits [B, T, vocabSize], or [N, vocabSize] of the chosen places. */
  forward({ positions, ...inputs }: MaskedLanguageModelInputs): { logits: Tensor } {
    const hidden = this.encoder.hidden(inputs);
    if (!positions) return { logits: this.logits(hidden) };
    return { logits: this.logits(embedding(positions, reshape(hidden, [-1, hidden.shape[2]]))) };
  }

  /** Logits [..., vocabSize] of hidden states. */
  logits(hidden: Tensor): Tensor {
    const { kind } = hiddenActOf(this.config.hiddenAct);
    const transformed = this.transformNorm.forward(activation(this.transform.forward(hidden), kind));
    const table = this.head?.weight ?? this.encoder.embedding.weight;
    return add(matmul(transformed, transpose(table)), this.bias);
  }
}
