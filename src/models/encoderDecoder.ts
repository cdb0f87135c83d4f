import type { Tensor } from '../graph/tensor.js';
import { type AttentionSource, constant, Embedding, Linear, Module, Parameter } from '../nn/index.js';
import { add, matmul, transpose } from '../ops/index.js';
import { type EncoderDecoderConfig, type EncoderDecoderOptions, encoderDecoderConfig } from './config.js';
import { embeddingInitialization, TransformerStack } from './stack.js';

export interface EncodeInputs {
  /** int32 [B, S]: the source. */
  inputIds: Tensor;
  /** int32 [B]: how many tokens of each source count. Default: all. */
  inputLengths?: Tensor;
}

export interface DecodeInputs {
  /** int32 [B, T]: the target as far as it is known, beginning with a start token. */
  decoderInputIds: Tensor;
  /** int32 [B]: how many tokens of each target count. Default: all. */
  decoderLengths?: Tensor;
}

/**
 * The Transformer (Vaswani et al. 2017, arXiv:1706.03762), BART and Marian: an encoder reads the source, a decoder writes the target
 * and looks at what the encoder made of the source.
 */
export class EncoderDecoder extends Module {
  readonly keepsCache = true;
  readonly config: EncoderDecoderConfig;
  /** The tables of tokens: one, or one each for source and target. */
  readonly embedding: Embedding;
  readonly decoderEmbedding?: Embedding;
  readonly encoder: TransformerStack;
  readonly decoder: TransformerStack;
  readonly head?: Linear;
  /** Bias of the logits, as in both families' checkpoints. */
  readonly finalLogitsBias: Parameter;

  constructor(options: EncoderDecoderOptions) {
    super();
    const config = encoderDecoderConfig(options);
    this.config = config;
    const { hiddenSize, vocabSize, decoderVocabSize, numHiddenLayers, numDecoderLayers } = config;
    const initialization = embeddingInitialization(config);
    this.embedding = new Embedding(vocabSize, hiddenSize, initialization);
    if (!config.shareEncoderDecoderEmbeddings) {
      this.decoderEmbedding = new Embedding(decoderVocabSize, hiddenSize, initialization);
    }
    this.encoder = new TransformerStack(config, {
      causal: false,
      numLayers: numHiddenLayers,
      embedding: this.embedding,
    });
    this.decoder = new TransformerStack(config, {
      causal: true,
      crossAttention: true,
      numLayers: numDecoderLayers,
      embedding: this.decoderEmbedding ?? this.embedding,
    });
    if (!config.tieWordEmbeddings) {
      this.head = new Linear(hiddenSize, decoderVocabSize, { bias: false, initialization });
    }
    this.finalLogitsBias = new Parameter([decoderVocabSize], constant(0));
  }

  get maxPositionEmbeddings(): number {
    return this.config.maxPositionEmbeddings;
  }

  /** Logits [B, T, decoderVocabSize] of the token that follows each of the target's. */
  forward(inputs: EncodeInputs & DecodeInputs): { logits: Tensor } {
    const sources = this.sources(this.encode(inputs), inputs.inputLengths);
    return { logits: this.logits(this.decode({ ...inputs, sources })) };
  }

  /** What the encoder makes of the source: the memory [B, S, hiddenSize]. */
  encode({ inputIds, inputLengths }: EncodeInputs): Tensor {
    return this.encoder.hidden({ inputIds, lengths: inputLengths });
  }

  /** Keys and values of a memory for each layer of the decoder; while decoding they are made once and kept. */
  sources(memory: Tensor, inputLengths?: Tensor): AttentionSource[] {
    return this.decoder.layers.map((layer) => layer.crossAttention!.source(memory, inputLengths));
  }

  /** Final hidden states [B, T, hiddenSize] of the decoder. */
  decode({
    decoderInputIds,
    decoderLengths,
    sources,
  }: DecodeInputs & { sources: readonly AttentionSource[] }): Tensor {
    return this.decoder.hidden({ inputIds: decoderInputIds, lengths: decoderLengths, sources });
  }

  /** Logits [..., decoderVocabSize] of the decoder's hidden states. */
  logits(hidden: Tensor): Tensor {
    const table = this.head?.weight ?? this.decoder.embedding.weight;
    return add(matmul(hidden, transpose(table)), this.finalLogitsBias);
  }
}
