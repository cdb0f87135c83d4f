import { compile, type Program } from '../compile/index.js';
import { Graph } from '../graph/graph.js';
import { trace } from '../graph/trace.js';
import type { LanguageModel } from '../models/decoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { causal } from '../objectives/causal.js';

/** A program that sums the loss of a batch, for a model whose parameters alone are in a session. */
export function evaluationProgram(
  model: LanguageModel,
  table: ParameterTable,
  { rows, sequenceLength, vocabSize }: { rows: number; sequenceLength: number; vocabSize: number },
): Program {
  const graph = new Graph();
  const objective = causal({ sequenceLength });
  const declarations = objective.inputs(rows, vocabSize);
  trace({ graph, training: false }, () => {
    const inputs = Object.fromEntries(declarations.map((input) => [input.name, graph.input(input)]));
    const { lossSum, tokenCount } = objective.loss(model, inputs, false);
    graph.output('lossSum', lossSum);
    graph.output('tokenCount', tokenCount);
  });
  return compile(graph, {
    arenas: { parameters: { bytes: 4 * table.elements, layoutHash: table.layoutHash } },
  });
}
