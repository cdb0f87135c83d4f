import { type CompileOptions, compile, type Program } from '../compile/index.js';
import { Graph, type Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { trace } from '../graph/trace.js';
import type { LanguageModel } from '../models/decoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { embedding, reshape, sample } from '../ops/index.js';

/** How a model's keys and values are kept: `rows` sequences of up to `capacity` tokens. */
export interface CacheShape {
  readonly rows: number;
  readonly capacity: number;
}

/** Places in the kvCache arena for each attention layer, in the order the layers are traced. */
class CacheSlots {
  private at = 0;

  constructor(private readonly shape: CacheShape) {}

  readonly next = (heads: number, headDim: number): { keys: Slot; values: Slot } => {
    const slot = (name: string): Slot => {
      const shape = [this.shape.rows, this.shape.capacity, heads, headDim];
      const offset = this.at;
      this.at += 4 * shape.reduce((a, b) => a * b, 1);
      this.at = Math.ceil(this.at / 64) * 64;
      return { arena: 'kvCache', offset, shape, dtype: 'f32', name };
    };
    return { keys: slot('keys'), values: slot('values') };
  };
}

/**
 * A program that takes up to `length` new tokens of every row (`lengths` says how many), continues the KV cache at `starts`,
 * and draws the token that follows the last of them. Models without a cache get their whole context each time: then
 * `starts` is 0.
 */
export function decodingProgram(
  model: LanguageModel,
  table: ParameterTable,
  vocabSize: number,
  cache: CacheShape,
  length: number,
  options: CompileOptions = {},
): Program {
  const graph = new Graph();
  const { rows, capacity } = cache;
  const row = (name: string, limit: number): Tensor =>
    graph.input({ name, shape: [rows], dtype: 'i32', minimum: 0, limit });
  const inputIds = graph.input({
    name: 'inputIds',
    shape: [rows, length],
    dtype: 'i32',
    minimum: 0,
    limit: vocabSize,
  });
  const starts = row('starts', capacity);
  const lengths = row('lengths', length + 1);
  const totals = row('totals', capacity + 1);
  const lastPlaces = row('lastPlaces', rows * length);
  const decoding = { starts, lengths, totals, nextCache: new CacheSlots(cache).next };
  trace({ graph, training: false, decoding: model.keepsCache ? decoding : undefined }, () => {
    const last = (x: Tensor) => embedding(lastPlaces, reshape(x, [rows * length, x.shape[2]]));
    const logits =
      model.hidden && model.logits
        ? model.logits(last(model.hidden({ inputIds })))
        : last(model.forward({ inputIds }).logits);
    const { token, logProbability } = sample(logits);
    graph.output('token', token);
    graph.output('logProbability', logProbability);
  });
  return compile(graph, {
    ...options,
    arenas: { parameters: { bytes: 4 * table.elements, layoutHash: table.layoutHash } },
  });
}
