import { type CompileOptions, compile, type Program } from '../compile/index.js';
import { Graph, type Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { type Decoding, trace } from '../graph/trace.js';
import type { LanguageModel } from '../models/decoder.js';
import { type ParameterTable, parameterArenas } from '../models/parameterTable.js';
import { beamCandidates, embedding, penalizeRepetition, reshape, sample } from '../ops/index.js';
import { type DType, dtypeBytes } from '../shape/dtype.js';

/** How a model's keys and values are kept: `rows` sequences of up to `capacity` tokens. */
export interface CacheShape {
  readonly rows: number;
  readonly capacity: number;
}

/** How the tokens that follow are found. */
export type Choice =
  /** One token for each row, drawn as the run's scalars say. */
  | { readonly kind: 'sample' }
  /** The best continuations of each group of `beams` rows; beam k of group b is row k * groups + b. */
  | { readonly kind: 'beams'; readonly beams: number; readonly candidates: number };

export interface DecodingSettings {
  readonly vocabSize: number;
  readonly cache: CacheShape;
  /** Sequences that the program continues. */
  readonly rows: number;
  /** New tokens of a row, at most. */
  readonly length: number;
  readonly choice: Choice;
  /** Whether tokens that were said before count less: an input `history` holds them. */
  readonly penalizes: boolean;
}

/** Places in the kvCache arena for each attention layer, in the order the layers are traced. */
class CacheSlots {
  private at = 0;

  constructor(
    private readonly shape: CacheShape,
    private readonly dtype: DType,
  ) {}

  readonly next = (heads: number, headDim: number): { keys: Slot; values: Slot } => {
    const slot = (name: string): Slot => {
      const shape = [this.shape.rows, this.shape.capacity, heads, headDim];
      const offset = this.at;
      this.at += dtypeBytes(this.dtype) * shape.reduce((a, b) => a * b, 1);
      this.at = Math.ceil(this.at / 64) * 64;
      return { arena: 'kvCache', offset, shape, dtype: this.dtype, name };
    };
    return { keys: slot('keys'), values: slot('values') };
  };
}

/**
 * A program that takes up to `length` new tokens of every row (`lengths` says how many), continues the KV cache at `starts`,
 * and finds what follows the last of them. With beams, `slots` says which row of the cache holds each token of a row: beams
 * part and meet by that table alone, and nothing in the cache is moved. Models without a cache get their whole context each
 * time: then `starts` is 0.
 */
export function decodingProgram(
  model: LanguageModel,
  table: ParameterTable,
  settings: DecodingSettings,
  options: CompileOptions = {},
): Program {
  const graph = new Graph();
  const { rows, length, cache, choice, vocabSize } = settings;
  const input = (name: string, shape: readonly number[], limit: number, minimum = 0): Tensor =>
    graph.input({ name, shape, dtype: 'i32', minimum, limit });
  const inputIds = input('inputIds', [rows, length], vocabSize);
  const decoding: Decoding = {
    starts: input('starts', [rows], cache.capacity),
    lengths: input('lengths', [rows], length + 1),
    totals: input('totals', [rows], cache.capacity + 1),
    slots: choice.kind === 'beams' ? input('slots', [rows, cache.capacity], cache.rows) : undefined,
    nextCache: new CacheSlots(cache, options.precision === 'bf16' ? 'bf16' : 'f32').next,
  };
  const lastPlaces = input('lastPlaces', [rows], rows * length);
  trace({ graph, training: false, decoding: model.keepsCache ? decoding : undefined }, () => {
    const last = (x: Tensor) => embedding(lastPlaces, reshape(x, [rows * length, x.shape[2]]));
    let logits =
      model.hidden && model.logits
        ? model.logits(last(model.hidden({ inputIds })))
        : last(model.forward({ inputIds }).logits);
    if (settings.penalizes) {
      const history = input('history', [rows, cache.capacity], vocabSize);
      logits = penalizeRepetition(logits, history, input('historyLengths', [rows], cache.capacity + 1));
    }
    for (const [name, tensor] of Object.entries(choose(graph, logits, choice))) graph.output(name, tensor);
  });
  return compile(graph, {
    ...options,
    arenas: parameterArenas(table, options.precision),
  });
}

function choose(graph: Graph, logits: Tensor, choice: Choice): Record<string, Tensor> {
  if (choice.kind === 'sample') return { ...sample(logits) };
  const { beams, candidates } = choice;
  const [rows, vocabSize] = logits.shape;
  const groups = rows / beams;
  const scores = graph.input({ name: 'scores', shape: [beams, groups], dtype: 'f32' });
  return { ...beamCandidates(reshape(logits, [beams, groups, vocabSize]), scores, candidates) };
}
