import { compile, type Program } from '../compile/index.js';
import { Graph } from '../graph/graph.js';
import { trace } from '../graph/trace.js';
import { type ParameterTable, parameterArenas } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import type { Bucket, Loss, Objective, ObjectiveData } from '../objectives/objective.js';
import type { Precision } from '../shape/dtype.js';

/** Traces an objective's loss for a bucket. */
export function traceLoss<Model extends Module, Data extends ObjectiveData>(
  graph: Graph,
  model: Model,
  objective: Objective<Model, Data>,
  { bucket, vocabSize, training }: { bucket: Bucket; vocabSize: number; training: boolean },
): Loss {
  const declarations = objective.inputs(bucket, vocabSize);
  return trace({ graph, training }, () => {
    const inputs = Object.fromEntries(declarations.map((input) => [input.name, graph.input(input)]));
    return objective.loss(model, inputs, training);
  });
}

/** The graph that sums the loss of a batch and gives what else the objective scores by. */
export function evaluationGraph<Model extends Module, Data extends ObjectiveData>(
  model: Model,
  objective: Objective<Model, Data>,
  shape: { bucket: Bucket; vocabSize: number },
): Graph {
  const graph = new Graph();
  const { lossSum, tokenCount, outputs } = traceLoss(graph, model, objective, { ...shape, training: false });
  graph.output('lossSum', lossSum);
  graph.output('tokenCount', tokenCount);
  for (const [name, tensor] of Object.entries(outputs ?? {})) graph.output(name, tensor);
  return graph;
}

/** Programs that score, one a bucket, for a model whose parameters alone are in a session. */
export function evaluationPrograms<Model extends Module, Data extends ObjectiveData>(
  model: Model,
  table: ParameterTable,
  objective: Objective<Model, Data>,
  settings: { batchSize: number; vocabSize: number; precision?: Precision },
): Program[] {
  const { batchSize, vocabSize, precision } = settings;
  return objective.buckets(batchSize).map((bucket) =>
    compile(evaluationGraph(model, objective, { bucket, vocabSize }), {
      precision,
      arenas: parameterArenas(table, precision),
    }),
  );
}
