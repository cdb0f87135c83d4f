import type { Tensor } from '../graph/tensor.js';
import {
  DecoderBlock,
  dropoutInTraining,
  Embedding,
  type LayerNorm,
  LearnedPositions,
  Linear,
  type LinearOptions,
  Module,
  normal,
  normOf,
  type RmsNorm,
  SinusoidalPositions,
} from '../nn/index.js';
import { add, expand, matmul, transpose } from '../ops/index.js';
import { type DecoderConfig, type DecoderOptions, decoderConfig } from './config.js';

/** What a language model is given: int32 [B, T]. */
export interface LanguageModelInputs {
  inputIds: Tensor;
}

/**
 * A model that scores the next token at every place. `forward` is all it must have; the rest lets decoding score only the
 * last token, and continue a KV cache instead of going over the whole context for every token.
 */
export interface LanguageModel extends Module {
  /** Logits [B, T, vocabSize]. */
  forward(inputs: LanguageModelInputs): { logits: Tensor };
  /** Final hidden states [B, T, hiddenSize]. */
  hidden?(inputs: LanguageModelInputs): Tensor;
  /** Logits [..., vocabSize] of hidden states. */
  logits?(hidden: Tensor): Tensor;
  /** Whether all that looks across tokens or at their positions does so through nn's modules. Default false. */
  readonly keepsCache?: boolean;
  /** The longest context, in tokens. Default: the length it is trained with. */
  readonly maxPositionEmbeddings?: number;
}

/** GPT-2, Llama and what lies between them: pre-norm blocks over token embeddings, then a norm and a classifier. */
export class Decoder extends Module implements LanguageModel {
  readonly keepsCache = true;
  readonly config: DecoderConfig;
  readonly embedding: Embedding;
  readonly positions?: LearnedPositions | SinusoidalPositions;
  readonly layers: DecoderBlock[];
  readonly norm: LayerNorm | RmsNorm;
  readonly head?: Linear;

  constructor(options: DecoderOptions) {
    super();
    const config = decoderConfig(options);
    this.config = config;
    const { hiddenSize, vocabSize, initializerRange, positionEmbedding } = config;
    const initialization = normal(initializerRange);
    // GPT-2 keeps its matrices as [in, out]; so do its checkpoints.
    const linear: LinearOptions = {
      bias: config.bias,
      initialization,
      inputMajor: config.modelType === 'gpt2',
    };
    // Projections into the residual stream start smaller, by 1 / sqrt(their number) (Radford et al. 2019, section 2.3).
    const residual =
      config.modelType === 'gpt2'
        ? initializerRange / Math.sqrt(2 * config.numHiddenLayers)
        : initializerRange;
    this.embedding = new Embedding(vocabSize, hiddenSize, initialization);
    if (positionEmbedding === 'learned') {
      this.positions = new LearnedPositions(config.maxPositionEmbeddings, hiddenSize, initialization);
    } else if (positionEmbedding === 'sinusoidal') {
      this.positions = new SinusoidalPositions(hiddenSize);
    }
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      () =>
        new DecoderBlock({
          hiddenSize,
          numAttentionHeads: config.numAttentionHeads,
          numKeyValueHeads: config.numKeyValueHeads,
          headDim: config.headDim,
          intermediateSize: config.intermediateSize,
          hiddenAct: config.hiddenAct,
          ropeTheta: positionEmbedding === 'rotary' ? config.ropeTheta : undefined,
          attentionDropout: config.attnPdrop,
          dropout: config.residPdrop,
          normalization: config.normalization,
          normEpsilon: config.layerNormEps,
          linear,
          outputLinear: { ...linear, initialization: normal(residual) },
        }),
    );
    this.norm = normOf(config.normalization, hiddenSize, config.layerNormEps, config.bias);
    if (!config.tieWordEmbeddings) {
      this.head = new Linear(hiddenSize, vocabSize, { bias: false, initialization });
    }
  }

  get maxPositionEmbeddings(): number {
    return this.config.maxPositionEmbeddings;
  }

  hidden({ inputIds }: LanguageModelInputs): Tensor {
    let x = this.embedding.forward(inputIds);
    if (this.positions) x = add(x, expand(this.positions.forward(inputIds.shape[1]), x.shape));
    x = dropoutInTraining(x, this.config.embdPdrop);
    for (const layer of this.layers) x = layer.forward(x);
    return this.norm.forward(x);
  }

  forward(inputs: LanguageModelInputs): { logits: Tensor } {
    return { logits: this.logits(this.hidden(inputs)) };
  }

  logits(hidden: Tensor): Tensor {
    return this.head ? this.head.forward(hidden) : matmul(hidden, transpose(this.embedding.weight));
  }
}
