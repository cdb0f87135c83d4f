// What is trained of a model, and how fast. All of it is said before the model's parameter table is made.
import { ConfigError } from '../errors.js';
import type { Module, Parameter } from '../nn/index.js';

/**
 * Whether a part of a model is meant by a name: the name's words, `*` standing for any one, follow each other somewhere in the
 * path. `layers.0`, `attention.qkv` and `layers.*.feedForward` are names.
 */
export function isMeant(path: string, name: string): boolean {
  const [words, wanted] = [path.split('.'), name.split('.')];
  return words.some((_, start) =>
    wanted.every((word, index) =>
      word === '*' ? start + index < words.length : words[start + index] === word,
    ),
  );
}

/** The parameters that any of the names mean. Throws ConfigError for a name that means none. */
export function parametersOf(
  model: Module,
  names: readonly string[],
): [path: string, parameter: Parameter][] {
  const all = [...model.namedParameters()];
  for (const name of names) {
    if (all.some(([path]) => isMeant(path, name))) continue;
    const parts = [...new Set(all.map(([path]) => path.split('.').slice(0, 2).join('.')))];
    throw new ConfigError(`'${name}' names no parameter; the model has ${parts.join(', ')}`, { name });
  }
  return all.filter(([path]) => names.some((name) => isMeant(path, name)));
}

/** Keeps what is named as it is: no gradient, no optimizer state, no update. Throws ConfigError. */
export function freeze(model: Module, names: readonly string[]): void {
  for (const [, parameter] of parametersOf(model, names)) parameter.trainable = false;
  if ([...model.namedParameters().values()].every(({ trainable }) => !trainable)) {
    throw new ConfigError(`freezing ${names.join(', ')} leaves nothing to train`);
  }
}

/** Multiplies the learning rate of what is named; later names go before earlier ones. Throws ConfigError. */
export function scaleLearningRates(model: Module, factors: Readonly<Record<string, number>>): void {
  for (const [name, factor] of Object.entries(factors)) {
    if (!(factor >= 0 && Number.isFinite(factor))) {
      throw new ConfigError(`the learning rate of '${name}' cannot be multiplied by ${factor}`, {
        name,
        factor,
      });
    }
    for (const [, parameter] of parametersOf(model, [name])) parameter.learningRateFactor = factor;
  }
}

/**
 * Layer-wise learning rates (Howard & Ruder 2018, arXiv:1801.06146, section 3.2): what stands above the last layer learns at the
 * full rate, and each layer at `decay` times the rate of the one above it, down to the embeddings. In an encoder-decoder both halves
 * count their own layers.
 */
export function decayLearningRates(model: Module, decay: number): void {
  if (!(decay > 0 && decay <= 1)) {
    throw new ConfigError(`the decay of learning rates must be above 0 and at most 1, but it is ${decay}`);
  }
  const named = [...model.namedParameters()];
  const layerOf = (path: string) => /^(.*?)layers\.(\d+)\./.exec(path);
  const counts = new Map<string, number>();
  for (const [path] of named) {
    const [, stack, layer] = layerOf(path) ?? [];
    if (stack !== undefined) counts.set(stack, Math.max(counts.get(stack) ?? 0, Number(layer) + 1));
  }
  const deepest = Math.max(0, ...counts.values());
  for (const [path, parameter] of named) {
    const [, stack, layer] = layerOf(path) ?? [];
    const isBelow = /(^|\.)(embedding|decoderEmbedding|positions|tokenTypes|embeddingNorm)\./.test(path);
    const above = stack !== undefined ? counts.get(stack)! - Number(layer) : isBelow ? deepest + 1 : 0;
    parameter.learningRateFactor = decay ** above;
  }
}

/** How many parameters of a model are trained; a shared one counts once. */
export const trainableCount = (model: Module): number =>
  [...model.namedParameters().values()].reduce((sum, { trainable, size }) => sum + (trainable ? size : 0), 0);
