import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { Decoder } from '#src/models/decoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { crossEntropy } from '#src/ops/index.js';
import { storeGradients } from '../models/storeGradients.js';
import { integers, normal, valuesOf } from '../ops/sample.js';
import type { Situation } from './run.js';

/** A training pass of a model with dropout, its gradients stored, and what to run it with. */
export function training(
  kind: 'gpt2' | 'llama' | 'marian',
  layers: number,
  hiddenSize: number,
  length: number,
): { graph: Graph; situation: Situation } {
  const sizes = {
    vocabSize: 11,
    hiddenSize,
    numHiddenLayers: layers,
    numAttentionHeads: 2,
    maxPositionEmbeddings: length,
    dropout: 0.2,
  };
  const model =
    kind === 'marian'
      ? new EncoderDecoder({ modelType: kind, ...sizes })
      : new Decoder({ modelType: kind, ...sizes });
  const table = parameterTable(model);
  const graph = new Graph();
  trace({ graph, training: true }, () => {
    const [inputIds, targets] = ['inputIds', 'targets'].map((name) =>
      graph.input({ name, shape: [2, length], dtype: 'i32', minimum: 0, limit: 11 }),
    );
    const { logits } = model.forward({ inputIds, decoderInputIds: inputIds });
    const { lossSum } = crossEntropy(logits, targets);
    storeGradients(graph, table, lossSum);
    graph.output('lossSum', lossSum);
  });
  const state = table.entries.flatMap(({ slot, name }) => [
    { slot, values: valuesOf('recompute', name, normal(slot.shape, 0.3)) },
    {
      slot: { ...slot, arena: 'gradients' as const, name: `gradient of ${name}` },
      values: valuesOf('recompute', 'zero', normal(slot.shape, 0)),
    },
  ]);
  const ids = (name: string) => valuesOf('recompute', name, integers([2, length], 0, 11));
  const situation: Situation = {
    inputs: { inputIds: ids('inputIds'), targets: ids('targets') },
    state,
    scalars: { seed: 3, step: 4 },
  };
  return { graph, situation };
}
