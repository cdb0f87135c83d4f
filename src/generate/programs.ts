import { type CompileOptions, compile, type Program } from '../compile/index.js';
import { Graph, type Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { type Decoding, trace } from '../graph/trace.js';
import type { LanguageModelInputs } from '../models/decoder.js';
import type { EncoderDecoder } from '../models/encoderDecoder.js';
import { type ParameterTable, parameterArenas } from '../models/parameterTable.js';
import type { AttentionSource } from '../nn/index.js';
import { arange, beamCandidates, embedding, penalizeRepetition, reshape, sample } from '../ops/index.js';
import { byteSizeOf } from '../shape/bytes.js';
import type { DType } from '../shape/dtype.js';

/** How a model's keys and values are kept: `rows` sequences of up to `capacity` tokens. */
export interface CacheShape {
  readonly rows: number;
  readonly capacity: number;
}

/** What decoding asks of a model: a language model, or the decoder of a model that looks at sources. */
export interface DecodingModel {
  readonly keepsCache?: boolean;
  /** Final hidden states [B, T, hiddenSize]. */
  hidden?(inputs: LanguageModelInputs, sources?: readonly AttentionSource[]): Tensor;
  /** Logits [..., vocabSize] of hidden states. */
  logits?(hidden: Tensor): Tensor;
  /** For models that have only this: logits [B, T, vocabSize]. */
  forward?(inputs: LanguageModelInputs): { logits: Tensor };
}

/** Keys and values of `rows` sources of up to `length` tokens, one pair for each of `layers` layers. */
export interface SourceShape {
  readonly rows: number;
  readonly length: number;
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
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
  /** What the decoder looks at: inputs `sourceRows` and `sourceLengths` say which source a row has, and its tokens. */
  readonly sources?: SourceShape;
}

interface KeyValueSlots {
  readonly keys: Slot;
  readonly values: Slot;
}

/** Places in the kvCache arena, one after the other: of the sources, then of each attention layer as it is traced. */
class CacheSlots {
  readonly sources: readonly KeyValueSlots[];
  private at = 0;

  constructor(
    private readonly shape: CacheShape,
    source?: SourceShape,
    private readonly dtype: DType = 'f32',
  ) {
    this.sources = Array.from({ length: source?.layers ?? 0 }, () =>
      this.take([source!.rows, source!.length, source!.heads, source!.headDim]),
    );
  }

  readonly next = (heads: number, headDim: number): KeyValueSlots =>
    this.take([this.shape.rows, this.shape.capacity, heads, headDim]);

  private take(shape: readonly number[]): KeyValueSlots {
    const { dtype } = this;
    const slot = (name: string): Slot => {
      const offset = this.at;
      this.at = Math.ceil((this.at + byteSizeOf({ shape, dtype })) / 64) * 64;
      return { arena: 'kvCache', offset, shape, dtype, name };
    };
    return { keys: slot('keys'), values: slot('values') };
  }
}

/** A program that reads sources [rows, length] (`lengths` says how many tokens of each) and keeps their keys and values. */
export function sourceProgram(
  model: Pick<EncoderDecoder, 'encode' | 'sources'>,
  table: ParameterTable,
  shape: SourceShape,
  vocabSize: number,
): Program {
  const graph = new Graph();
  const { rows, length } = shape;
  const inputIds = graph.input({
    name: 'inputIds',
    shape: [rows, length],
    dtype: 'i32',
    minimum: 0,
    limit: vocabSize,
  });
  const inputLengths = graph.input({
    name: 'lengths',
    shape: [rows],
    dtype: 'i32',
    minimum: 0,
    limit: length + 1,
  });
  const places = new CacheSlots({ rows: 0, capacity: 0 }, shape).sources;
  trace({ graph, training: false }, () => {
    const sources = model.sources(model.encode({ inputIds, inputLengths }), inputLengths);
    sources.forEach(({ keys, values }, layer) => {
      graph.store(keys, places[layer].keys);
      graph.store(values, places[layer].values);
    });
  });
  return compile(graph, { arenas: parameterArenas(table) });
}

/**
 * A program that takes up to `length` new tokens of every row (`lengths` says how many), continues the KV cache at `starts`,
 * and finds what follows the last of them. With beams, `slots` says which row of the cache holds each token of a row: beams
 * part and meet by that table alone, and nothing in the cache is moved. Models without a cache get their whole context each
 * time: then `starts` is 0.
 */
export function decodingProgram(
  model: DecodingModel,
  table: ParameterTable,
  settings: DecodingSettings,
  options: CompileOptions = {},
): Program {
  const graph = new Graph();
  const { rows, length, cache, choice, vocabSize, sources } = settings;
  const input = (name: string, shape: readonly number[], limit: number, minimum = 0): Tensor =>
    graph.input({ name, shape, dtype: 'i32', minimum, limit });
  const inputIds = input('inputIds', [rows, length], vocabSize);
  const places = new CacheSlots(cache, sources, options.precision === 'bf16' ? 'bf16' : 'f32');
  const decoding: Decoding = {
    starts: input('starts', [rows], cache.capacity),
    lengths: input('lengths', [rows], length + 1),
    totals: input('totals', [rows], cache.capacity + 1),
    slots: choice.kind === 'beams' ? input('slots', [rows, cache.capacity], cache.rows) : undefined,
    nextCache: places.next,
  };
  const lastPlaces = input('lastPlaces', [rows], rows * length);
  const seen = sources && {
    lengths: input('sourceLengths', [rows], sources.length + 1),
    slots: input('sourceRows', [rows, sources.length], sources.rows),
  };
  trace({ graph, training: false, decoding: model.keepsCache ? decoding : undefined }, () => {
    const last = (x: Tensor) => embedding(lastPlaces, reshape(x, [rows * length, x.shape[2]]));
    let logits =
      model.hidden && model.logits
        ? model.logits(last(model.hidden({ inputIds }, seen && sourcesAt(graph, places.sources, seen))))
        : last(model.forward!({ inputIds }).logits);
    if (settings.penalizes) {
      const history = input('history', [rows, cache.capacity], vocabSize);
      logits = penalizeRepetition(logits, history, input('historyLengths', [rows], cache.capacity + 1));
    }
    for (const [name, tensor] of Object.entries(choose(graph, logits, choice))) graph.output(name, tensor);
  });
  return compile(graph, { ...options, arenas: parameterArenas(table, options.precision) });
}

const sourcesAt = (
  graph: Graph,
  places: readonly KeyValueSlots[],
  seen: Pick<AttentionSource, 'lengths' | 'slots'>,
): AttentionSource[] =>
  places.map(({ keys, values }) => ({ keys: graph.readSlot(keys), values: graph.readSlot(values), ...seen }));

function choose(graph: Graph, logits: Tensor, choice: Choice): Record<string, Tensor> {
  if (choice.kind === 'sample') return { ...sample(logits) };
  const { beams, candidates } = choice;
  const [rows, vocabSize] = logits.shape;
  const groups = rows / beams;
  const scores = graph.input({ name: 'scores', shape: [beams, groups], dtype: 'f32' });
  return { ...beamCandidates(reshape(logits, [beams, groups, vocabSize]), scores, candidates) };
}

/** A program that computes nothing: a session that has loaded it has room for the parameters. */
export function emptyProgram(table: ParameterTable): Program {
  const graph = new Graph();
  trace({ graph, training: false }, () => graph.output('zero', arange(1)));
  return compile(graph, { arenas: parameterArenas(table) });
}
