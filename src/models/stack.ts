import type { Tensor } from '../graph/tensor.js';
import {
  type AttentionSource,
  dropoutInTraining,
  Embedding,
  glorotUniform,
  type Initialization,
  type LayerNorm,
  LearnedPositions,
  type LinearOptions,
  Module,
  normal,
  normOf,
  type RmsNorm,
  SinusoidalPositions,
  type TokenRanges,
  TransformerBlock,
} from '../nn/index.js';
import { add, arange, expand, scale } from '../ops/index.js';
import type { TransformerConfig } from './config.js';

/** What a stack is given: int32 [B, T], and what nn's blocks know of them. */
export interface StackInputs extends TokenRanges {
  inputIds: Tensor;
  /** int32 [B, T]: the segment of each token, 0 without it. */
  tokenTypeIds?: Tensor;
  /** For each layer what its cross-attention looks at. */
  sources?: readonly AttentionSource[];
}

export interface StackOptions {
  causal: boolean;
  numLayers: number;
  crossAttention?: boolean;
  /** A table of tokens shared with another stack. */
  embedding?: Embedding;
  typeVocabSize?: number;
}

/** How a family's matrices start: as published, which for GPT-2 and the Transformer is not one deviation for all. */
function linearOf(
  config: TransformerConfig,
  numLayers: number,
): { linear: LinearOptions; outputLinear: LinearOptions } {
  const { modelType, bias, initializerRange } = config;
  // GPT-2 keeps its matrices as [in, out]; so do its checkpoints.
  const linear: LinearOptions = {
    bias,
    inputMajor: modelType === 'gpt2',
    initialization: modelType === 'marian' ? glorotUniform : normal(initializerRange),
  };
  if (modelType !== 'gpt2') return { linear, outputLinear: linear };
  // Projections into the residual stream start smaller, by 1 / sqrt(their number) (Radford et al. 2019, section 2.3).
  const residual = normal(initializerRange / Math.sqrt(2 * numLayers));
  return { linear, outputLinear: { ...linear, initialization: residual } };
}

/** How tables of tokens start; scaled by sqrt(hiddenSize) they then have deviation 1 (Vaswani et al. 2017, section 3.4). */
export const embeddingInitialization = (config: TransformerConfig): Initialization =>
  normal(config.modelType === 'marian' ? config.hiddenSize ** -0.5 : config.initializerRange);

/** Embeddings, layers and, where norms stand before the parts of a layer, one last norm: what all Transformers are made of. */
export class TransformerStack<Config extends TransformerConfig = TransformerConfig> extends Module {
  readonly embedding: Embedding;
  readonly positions?: LearnedPositions | SinusoidalPositions;
  readonly tokenTypes?: Embedding;
  readonly embeddingNorm?: LayerNorm | RmsNorm;
  readonly layers: TransformerBlock[];
  readonly norm?: LayerNorm | RmsNorm;

  constructor(
    readonly config: Config,
    options: StackOptions,
  ) {
    super();
    const { hiddenSize, positionEmbedding, maxPositionEmbeddings } = config;
    const { causal, numLayers, crossAttention, typeVocabSize } = options;
    const initialization = embeddingInitialization(config);
    const norm = () => normOf(config.normalization, hiddenSize, config.layerNormEps, config.bias);
    this.embedding = options.embedding ?? new Embedding(config.vocabSize, hiddenSize, initialization);
    if (positionEmbedding === 'learned') {
      this.positions = new LearnedPositions(maxPositionEmbeddings, hiddenSize, {
        initialization,
        offset: config.modelType === 'bart' ? 2 : 0,
      });
    } else if (positionEmbedding === 'sinusoidal') {
      this.positions = new SinusoidalPositions(hiddenSize, { halves: config.modelType === 'marian' });
    }
    if (typeVocabSize) this.tokenTypes = new Embedding(typeVocabSize, hiddenSize, initialization);
    if (config.normalizeEmbedding) this.embeddingNorm = norm();
    this.layers = Array.from(
      { length: numLayers },
      () =>
        new TransformerBlock({
          causal,
          crossAttention,
          hiddenSize,
          numAttentionHeads: config.numAttentionHeads,
          numKeyValueHeads: config.numKeyValueHeads,
          headDim: config.headDim,
          intermediateSize: config.intermediateSize,
          hiddenAct: config.hiddenAct,
          ropeTheta: positionEmbedding === 'rotary' ? config.ropeTheta : undefined,
          alibi: positionEmbedding === 'alibi',
          slidingWindow: config.slidingWindow,
          attentionDropout: config.attnPdrop,
          dropout: config.residPdrop,
          normalization: config.normalization,
          normEpsilon: config.layerNormEps,
          normalizeBefore: config.normalizeBefore,
          ...linearOf(config, numLayers),
        }),
    );
    if (config.normalizeBefore) this.norm = norm();
  }

  get maxPositionEmbeddings(): number {
    return this.config.maxPositionEmbeddings;
  }

  /** Final hidden states [B, T, hiddenSize]. */
  hidden({ inputIds, tokenTypeIds, sources, ...ranges }: StackInputs): Tensor {
    let x = this.embed(inputIds, tokenTypeIds, ranges.positionIds);
    this.layers.forEach((layer, index) => {
      x = layer.forward(x, { ...ranges, source: sources?.[index] });
    });
    return this.norm ? this.norm.forward(x) : x;
  }

  private embed(inputIds: Tensor, tokenTypeIds?: Tensor, positionIds?: Tensor): Tensor {
    const { scaleEmbedding, hiddenSize, embdPdrop } = this.config;
    let x = this.embedding.forward(inputIds);
    if (scaleEmbedding) x = scale(x, Math.sqrt(hiddenSize));
    if (this.tokenTypes) x = add(x, this.segments(inputIds, tokenTypeIds));
    if (this.positions) x = add(x, expand(this.positions.forward(inputIds.shape[1], positionIds), x.shape));
    if (this.embeddingNorm) x = this.embeddingNorm.forward(x);
    return dropoutInTraining(x, embdPdrop);
  }

  /** Without segments all tokens are of the first one. */
  private segments(inputIds: Tensor, tokenTypeIds?: Tensor): Tensor {
    const table = this.tokenTypes!;
    if (tokenTypeIds) return table.forward(tokenTypeIds);
    const first = table.forward(arange(1));
    return expand(first, [...inputIds.shape, first.shape[1]]);
  }
}
