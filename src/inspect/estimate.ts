import { Classifier } from '../models/classifier.js';
import type { AnyTransformerConfig } from '../models/config.js';
import { isConfigured } from '../models/huggingFace.js';
import { Mlp } from '../models/mlp.js';
import type { ParameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';

/**
 * The rule of thumb V + T^2 d + O(log T) for the parameters of a Transformer with vocabulary V, context T and width d, beside
 * what the exact count is made of.
 */
export interface ParameterEstimate {
  readonly vocabSize: number;
  readonly context: number;
  readonly hiddenSize: number;
  /** V + T^2 d; the term in log T has no factor to compute it by. */
  readonly estimated: number;
  /** Exact counts: V d (twice where the output has a table of its own), T d where positions are learned, the layers, all else. */
  readonly tokens: number;
  readonly positions: number;
  readonly layers: number;
  readonly rest: number;
}

/** Undefined for models that are no Transformer of this library's. */
export function parameterEstimate(model: Module, table: ParameterTable): ParameterEstimate | undefined {
  if (!isConfigured(model) || model instanceof Mlp) return undefined;
  const config: AnyTransformerConfig = model instanceof Classifier ? model.config.body : model.config;
  const { vocabSize, maxPositionEmbeddings: context, hiddenSize } = config;
  const sum = (pattern: RegExp) =>
    table.entries.reduce(
      (count, { name, parameter }) => count + (pattern.test(name) ? parameter.size : 0),
      0,
    );
  const isLanguageModel = !(model instanceof Classifier);
  const tokens = sum(isLanguageModel ? /(^|\.)(embedding|decoderEmbedding)\.|^head\./ : /(^|\.)embedding\./);
  const positions = sum(/(^|\.)positions\./);
  const layers = sum(/(^|\.)layers\.\d+\./);
  return {
    vocabSize,
    context,
    hiddenSize,
    estimated: vocabSize + context ** 2 * hiddenSize,
    tokens,
    positions,
    layers,
    rest: table.count - tokens - positions - layers,
  };
}

/** The estimate, the exact count, and why they differ, for people. */
export function estimateText(
  estimate: ParameterEstimate,
  count: number,
  format: (n: number) => string,
): string {
  const { vocabSize, context, hiddenSize, estimated, tokens, positions, layers, rest } = estimate;
  const learned =
    positions > 0 ? `learned positions take T d = ${format(positions)}` : 'positions have no parameters';
  return [
    `estimate V + T^2 d + O(log T): ${format(vocabSize)} + ${format(context)}^2 x ${format(hiddenSize)} = ` +
      `${format(estimated)}, exact ${format(count)}. It differs because`,
    `  a token is not one number but d of them: V d = ${format(tokens)} for input and output tables`,
    `  T^2 d is the arithmetic of attention, not its parameters: ${learned}`,
    `  the layers, which it leaves out, have ${format(layers)} whatever V and T are; all else has ${format(rest)}`,
    '',
  ].join('\n');
}
