import test from 'ava';
import { passes } from '#src/compile/index.js';
import type { Slot } from '#src/graph/graph.js';
import { Decoder } from '#src/models/decoder.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { causal } from '#src/objectives/causal.js';
import { trainingArenas } from '#src/train/arenas.js';
import { adamw } from '#src/train/optimizer.js';
import { ProgramBuilder, type TrainingProgram } from '#src/train/programs.js';
import { integers, normal, valuesOf } from '../ops/sample.js';
import { firstDifference } from '../reference/compare.js';
import { executed, interpreted, type Situation } from './run.js';

const [rows, sequenceLength, vocabSize] = [2, 5, 11];

/** A tiny model with everything in it that its family has, dropout too. */
function builderOf(modelType: 'gpt2' | 'llama') {
  const model = new Decoder({
    modelType,
    vocabSize,
    hiddenSize: 8,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
    numKeyValueHeads: modelType === 'llama' ? 1 : 2,
    intermediateSize: 12,
    maxPositionEmbeddings: 6,
    embdPdrop: 0.1,
    attnPdrop: 0.2,
    residPdrop: 0.3,
  });
  const table = parameterTable(model);
  const builder = new ProgramBuilder(table, {
    model,
    objective: causal({ sequenceLength, labelSmoothing: 0.1 }),
    vocabSize,
    rows,
    optimizer: adamw(),
    clip: { mode: 'norm', maximum: 0.1 },
  });
  return { builder, table, arenas: trainingArenas(table, builder.slots) };
}

function situationOf({ builder, table }: ReturnType<typeof builderOf>): Situation {
  const { slots } = builder;
  const values = (slot: Slot) => {
    if (slot === slots.blocks) return table.blocks;
    if (slot === slots.counters) return [3, 0, 0, 0];
    const random = valuesOf('models', slot.name, normal(slot.shape, 0.3));
    return slot.name === 'secondMoment' ? random.map(Math.abs) : random;
  };
  const { lossSum, tokenCount, counters, blocks, moments, parameters, gradients } = slots;
  const kept = [parameters, gradients, lossSum, tokenCount, counters, blocks, ...moments];
  return {
    inputs: {
      inputIds: valuesOf('models', 'inputIds', integers([rows, sequenceLength], 0, vocabSize)),
      targets: valuesOf('models', 'targets', integers([rows, sequenceLength], -1, vocabSize)),
    },
    state: kept.map((slot) => ({ slot, values: values(slot) })),
    scalars: { learningRate: 0.01, seed: 3, step: 4, microStep: 1, rowOffset: 8 },
  };
}

const tolerance = { rtol: 1e-9, atol: 1e-11 };

for (const modelType of ['gpt2', 'llama'] as const) {
  for (const kind of ['step', 'first', 'accumulate', 'update', 'evaluate'] satisfies TrainingProgram[]) {
    test(`${modelType}: no pass changes what '${kind}' computes, nor does the plan`, (t) => {
      const model = builderOf(modelType);
      const situation = situationOf(model);
      const traced = model.builder.graph(kind);
      const expected = interpreted(traced, situation);
      // So small that the classifier is cut into chunks.
      const maxLogitsBytes = 4 * vocabSize * 4;
      let graph = traced;
      for (const pass of passes({ maxLogitsBytes, recompute: true })) {
        graph = pass(graph);
        t.is(firstDifference(interpreted(graph, situation), expected, tolerance), undefined, pass.name);
      }
      for (const options of [{ maxLogitsBytes }, {}, { fuse: false }, { recompute: true }]) {
        const { results } = executed(traced, situation, { ...options, arenas: model.arenas });
        const message = firstDifference(results, expected, tolerance);
        t.is(message, undefined, JSON.stringify(options));
      }
    });
  }
}
