import { compile, type Program } from '../compile/index.js';
import { Graph } from '../graph/graph.js';
import { trace } from '../graph/trace.js';
import type { LanguageModel } from '../models/decoder.js';
import { type ParameterTable, parameterArenas } from '../models/parameterTable.js';
import { causal } from '../objectives/causal.js';
import type { Precision } from '../shape/dtype.js';

/** A program that sums the loss of a batch, for a model whose parameters alone are in a session. */
export function evaluationProgram(
  model: LanguageModel,
  table: ParameterTable,
  settings: { rows: number; sequenceLength: number; vocabSize: number; precision?: Precision },
): Program {
  const { rows, sequenceLength, vocabSize, precision } = settings;
  const graph = new Graph();
  const objective = causal({ sequenceLength });
  const declarations = objective.inputs(rows, vocabSize);
  trace({ graph, training: false }, () => {
    const inputs = Object.fromEntries(declarations.map((input) => [input.name, graph.input(input)]));
    const { lossSum, tokenCount } = objective.loss(model, inputs, false);
    graph.output('lossSum', lossSum);
    graph.output('tokenCount', tokenCount);
  });
  return compile(graph, { precision, arenas: parameterArenas(table, precision) });
}
