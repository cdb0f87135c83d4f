import type { Tensor } from '../graph/tensor.js';
import { Linear, type Module, normal, type TokenRanges } from '../nn/index.js';
import { matmul, transpose } from '../ops/index.js';
import { type DecoderConfig, type DecoderOptions, decoderConfig } from './config.js';
import { TransformerStack } from './stack.js';

/** What a language model is given: int32 [B, T], and which of them count and belong together. */
export interface LanguageModelInputs extends TokenRanges {
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

/** GPT-2, Llama and what lies between them: causal blocks over token embeddings, and a classifier. */
export class Decoder extends TransformerStack<DecoderConfig> implements LanguageModel {
  readonly keepsCache = true;
  readonly head?: Linear;

  constructor(options: DecoderOptions) {
    const config = decoderConfig(options);
    super(config, { causal: true, numLayers: config.numHiddenLayers });
    if (!config.tieWordEmbeddings) {
      this.head = new Linear(config.hiddenSize, config.vocabSize, {
        bias: false,
        initialization: normal(config.initializerRange),
      });
    }
  }

  forward(inputs: LanguageModelInputs): { logits: Tensor } {
    return { logits: this.logits(this.hidden(inputs)) };
  }

  logits(hidden: Tensor): Tensor {
    return this.head ? this.head.forward(hidden) : matmul(hidden, transpose(this.embedding.weight));
  }
}
