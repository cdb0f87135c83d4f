import { ConfigError } from '../errors.js';
import type { Tensor } from '../graph/tensor.js';
import { type ActivationKind, activation, gatedActivation, split } from '../ops/index.js';
import { dropoutInTraining } from './dropout.js';
import { initializationOf, Linear, type LinearOptions } from './linear.js';
import { Module } from './module.js';

/** Activations by the names Hugging Face's configs use; `swiglu` is silu with a gate of its own. */
const hiddenActKinds = {
  gelu: { kind: 'gelu', gated: false },
  gelu_new: { kind: 'gelu_tanh', gated: false },
  relu: { kind: 'relu', gated: false },
  silu: { kind: 'silu', gated: false },
  sigmoid: { kind: 'sigmoid', gated: false },
  tanh: { kind: 'tanh', gated: false },
  swiglu: { kind: 'silu', gated: true },
} as const;
export type HiddenAct = keyof typeof hiddenActKinds;
export const hiddenActs = Object.keys(hiddenActKinds) as HiddenAct[];

/** Looks an activation up by its name in Hugging Face's configs. Throws ConfigError. */
export function hiddenActOf(name: string): { kind: ActivationKind; gated: boolean } {
  if (!Object.hasOwn(hiddenActKinds, name)) {
    throw new ConfigError(`hiddenAct '${name}' is unknown; use one of ${hiddenActs.join(', ')}`);
  }
  return hiddenActKinds[name as HiddenAct];
}

export interface FeedForwardOptions {
  hiddenSize: number;
  /** Default 4 hiddenSize. */
  intermediateSize?: number;
  /** gelu, gelu_new (tanh form), relu, silu, sigmoid, tanh or swiglu. Default gelu. */
  hiddenAct?: string;
  dropout?: number;
  linear?: LinearOptions;
  /** Options of the second projection, which ends in the residual stream. Default: `linear`. */
  outputLinear?: LinearOptions;
}

/** Two projections with an activation between them, on [..., hiddenSize]. */
export class FeedForward extends Module {
  readonly up: Linear;
  readonly down: Linear;
  private readonly act: { kind: ActivationKind; gated: boolean };
  private readonly dropout: number;
  private readonly intermediateSize: number;

  constructor(options: FeedForwardOptions) {
    super();
    const { hiddenSize, intermediateSize = 4 * hiddenSize, hiddenAct = 'gelu', linear } = options;
    const act = hiddenActOf(hiddenAct);
    this.act = act;
    this.dropout = options.dropout ?? 0;
    this.intermediateSize = intermediateSize;
    // Gate and up projection are one matrix: the gate's rows first.
    this.up = new Linear(hiddenSize, act.gated ? 2 * intermediateSize : intermediateSize, {
      ...linear,
      initialization: initializationOf(linear, hiddenSize, intermediateSize),
    });
    this.down = new Linear(intermediateSize, hiddenSize, options.outputLinear ?? linear);
  }

  forward(x: Tensor): Tensor {
    const projected = this.up.forward(x);
    const { kind, gated } = this.act;
    const { intermediateSize } = this;
    const inner = gated
      ? (([gate, up]) => gatedActivation(gate, up, kind))(
          split(projected, [intermediateSize, intermediateSize]),
        )
      : activation(projected, kind);
    return dropoutInTraining(this.down.forward(inner), this.dropout);
  }
}
