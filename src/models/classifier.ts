import { ConfigError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import { dropoutInTraining, Linear, Module, normal } from '../nn/index.js';
import { type DecoderConfig, decoderConfig, type EncoderConfig, encoderConfig } from './config.js';
import { Decoder } from './decoder.js';
import { Encoder, type EncoderInputs } from './encoder.js';
import { type Pooling, pool, poolings } from './pooling.js';

/** A classifier of texts over a decoder or an encoder. */
export interface ClassifierConfig {
  /** Number of classes, at least 2. */
  numLabels: number;
  /** Which hidden states are classified: the mean over a text, its first or its last token. Default: last for a decoder, else first. */
  pooling: Pooling;
  /** Dropout of what is classified. Default: residPdrop of the body. */
  classifierDropout: number;
  /** The Transformer below. */
  body: DecoderConfig | EncoderConfig;
}

export type ClassifierOptions = Partial<ClassifierConfig> & Pick<ClassifierConfig, 'numLabels' | 'body'>;

/** Fills in defaults. Throws ConfigError. */
export function classifierConfig({ numLabels, body, ...options }: ClassifierOptions): ClassifierConfig {
  const isEncoder = body.modelType === 'bert';
  const config: ClassifierConfig = {
    numLabels,
    pooling: options.pooling ?? (isEncoder ? 'first' : 'last'),
    classifierDropout: options.classifierDropout ?? body.residPdrop,
    body: body.modelType === 'bert' ? encoderConfig(body) : decoderConfig(body),
  };
  if (!Number.isSafeInteger(numLabels) || numLabels < 2) {
    throw new ConfigError(`numLabels must be a whole number of at least 2 but is ${numLabels}`, {
      numLabels,
    });
  }
  if (!poolings.includes(config.pooling)) {
    throw new ConfigError(`pooling '${config.pooling}' is unknown; use one of ${poolings.join(', ')}`);
  }
  return config;
}

/**
 * Softmax over classes for one vector of each text. An encoder's pooler, where it has one, stands between its first token and the
 * classes, as in BERT; a decoder has no use for tokens after the last.
 */
export class Classifier extends Module {
  readonly config: ClassifierConfig;
  readonly body: Decoder | Encoder;
  readonly head: Linear;

  constructor(options: ClassifierOptions) {
    super();
    this.config = classifierConfig(options);
    const { body, numLabels, pooling } = this.config;
    this.body =
      body.modelType === 'bert'
        ? new Encoder({ ...body, addPoolingLayer: body.addPoolingLayer && pooling === 'first' })
        : new Decoder({ ...body, tieWordEmbeddings: true });
    this.head = new Linear(body.hiddenSize, numLabels, {
      // Hugging Face's classifiers over decoders have no bias.
      bias: body.modelType === 'bert',
      initialization: normal(body.initializerRange),
    });
  }

  get maxPositionEmbeddings(): number {
    return this.config.body.maxPositionEmbeddings;
  }

  /** Logits [B, numLabels]. */
  forward(inputs: EncoderInputs): { logits: Tensor } {
    const { pooling, classifierDropout } = this.config;
    const hidden = this.body.hidden(inputs);
    const pooled =
      this.body instanceof Encoder && this.body.pooler
        ? this.body.pooled(hidden)
        : pool(hidden, pooling, inputs.lengths);
    return { logits: this.head.forward(dropoutInTraining(pooled, classifierDropout)) };
  }
}
