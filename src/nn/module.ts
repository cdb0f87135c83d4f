import { ConfigError } from '../errors.js';
import type { Graph, Slot } from '../graph/graph.js';
import type { Tensor, TensorLike } from '../graph/tensor.js';
import { type Shape, sizeOf } from '../shape/shape.js';

/** How a parameter starts. Deviations are those of a normal distribution around 0. */
export type Initialization =
  | { readonly kind: 'normal'; readonly deviation: number }
  | { readonly kind: 'uniform'; readonly bound: number }
  | { readonly kind: 'constant'; readonly value: number };

export const normal = (deviation: number): Initialization => ({ kind: 'normal', deviation });
export const uniform = (bound: number): Initialization => ({ kind: 'uniform', bound });
/** Uniform with the variance 2 / (inputSize + outputSize) (Glorot & Bengio 2010, eq. 16). */
export const glorotUniform = (inputSize: number, outputSize: number): Initialization =>
  uniform(Math.sqrt(6 / (inputSize + outputSize)));
export const constant = (value: number): Initialization => ({ kind: 'constant', value });

/** A named, trainable array. Always float32; its values live in the parameter arena of a session. */
export class Parameter implements TensorLike {
  /** Its place in the parameter arena, given by models/parameterTable.ts before anything is traced. */
  slot: Slot | undefined;
  /** False keeps it as it is: no gradient, no update. */
  trainable = true;
  /** Multiplies the learning rate of its updates. */
  learningRateFactor = 1;

  constructor(
    readonly shape: Shape,
    readonly initialization: Initialization,
    /** Whether weight decay acts on it. Default: matrices yes, vectors no. */
    readonly decay: boolean = shape.length >= 2,
  ) {}

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  toTensor(graph: Graph): Tensor {
    if (!this.slot) throw new ConfigError('a parameter has no place yet; give the model to a Trainer first');
    return graph.readSlot(this.slot);
  }
}

/** A part of a model: parameters and modules found among its own properties, and a forward() of the user's. */
export abstract class Module {
  /** Parameters by path (`layers.0.attention.output.weight`), in order of declaration; a shared one once. */
  namedParameters(): Map<string, Parameter> {
    return this.parts(Parameter);
  }

  /** The modules within by path, in order of declaration; a shared one once. */
  namedModules(): Map<string, Module> {
    return this.parts(Module);
  }

  private parts<Part extends object>(kind: abstract new (...values: never[]) => Part): Map<string, Part> {
    const found = new Map<string, Part>();
    const seen = new Set<object>([this]);
    const visit = (value: unknown, path: string): void => {
      if (value instanceof kind && !seen.has(value)) {
        seen.add(value);
        found.set(path, value);
      }
      if (value instanceof Module || Array.isArray(value)) {
        for (const [key, inner] of Object.entries(value)) visit(inner, path ? `${path}.${key}` : key);
      }
    };
    visit(this, '');
    return found;
  }

  /** Number of parameters; a shared one counts once. */
  parameterCount(): number {
    let count = 0;
    for (const { size } of this.namedParameters().values()) count += size;
    return count;
  }
}
