import type { Graph, Slot } from '../graph/graph.js';
import type { WordVectors } from '../models/wordVectors.js';
import { skipGramUpdate } from '../ops/index.js';

export interface SkipGramSettings {
  /** The farthest a context may be from its centre, 1 to 256 words. */
  readonly window: number;
  /** Negatives that a pair counts against. */
  readonly negatives: number;
}

/** Places of the tables that the objective reads beside the vectors. */
export interface SkipGramSlots {
  readonly keep: Slot;
  readonly aliasProbability: Slot;
  readonly alias: Slot;
}

/** Lays the tables out in the arena optimizerState, for a vocabulary of this size. */
export function skipGramSlots(vocabSize: number): SkipGramSlots {
  const bytes = Math.ceil((4 * vocabSize) / 64) * 64;
  const slot = (index: number, name: string, dtype: Slot['dtype']): Slot => ({
    arena: 'optimizerState',
    offset: index * bytes,
    shape: [vocabSize],
    dtype,
    name,
  });
  return {
    keep: slot(0, 'keep', 'f32'),
    aliasProbability: slot(1, 'aliasProbability', 'f32'),
    alias: slot(2, 'alias', 'i32'),
  };
}

/**
 * Skip-gram with negative sampling. Unlike other objectives it has no gradient of its own: one op reads a stretch of text, sums
 * the loss and updates the vectors in place.
 */
export function appendSkipGram(
  graph: Graph,
  model: WordVectors,
  slots: SkipGramSlots,
  { window, negatives, chunkLength }: SkipGramSettings & { readonly chunkLength: number },
): void {
  const { vocabSize } = model.config;
  const ids = graph.input({ name: 'ids', shape: [chunkLength], dtype: 'i32', minimum: -1, limit: vocabSize });
  const { lossSum, pairCount } = skipGramUpdate({
    centres: model.centres.toTensor(graph),
    contexts: model.contexts.toTensor(graph),
    ids,
    keep: graph.readSlot(slots.keep),
    aliasProbability: graph.readSlot(slots.aliasProbability),
    alias: graph.readSlot(slots.alias),
    window,
    negatives,
  });
  graph.output('lossSum', lossSum);
  graph.output('pairCount', pairCount);
}
