import { type CompileOptions, compile, gradients, type Program } from '../compile/index.js';
import { Graph, type Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { trace } from '../graph/trace.js';
import type { LanguageModel } from '../models/decoder.js';
import type { ParameterTable } from '../models/parameterTable.js';
import type { Objective } from '../objectives/objective.js';
import { add, type LossSum } from '../ops/index.js';
import type { Precision } from '../shape/dtype.js';
import { type TrainingSlots, trainingArenas, trainingSlots } from './arenas.js';
import { appendUpdate, type ClipSettings, type OptimizerSettings } from './optimizer.js';

export interface ProgramSettings {
  readonly model: LanguageModel;
  readonly objective: Objective<LanguageModel>;
  readonly vocabSize: number;
  /** Rows of a batch. */
  readonly rows: number;
  readonly optimizer: OptimizerSettings;
  readonly clip: ClipSettings;
  /** Default float32. */
  readonly precision?: Precision;
  readonly compile?: CompileOptions;
}

/** The programs of a training run: `step`, or with accumulation `first`, `accumulate` and `update`; and `evaluate`. */
export type TrainingProgram = 'step' | 'first' | 'accumulate' | 'update' | 'evaluate';

/** Builds and compiles the programs of a run over one parameter table. */
export class ProgramBuilder {
  readonly slots: TrainingSlots;

  constructor(
    readonly table: ParameterTable,
    private readonly settings: ProgramSettings,
  ) {
    this.slots = trainingSlots(table, settings.optimizer);
  }

  build(kind: TrainingProgram): Program {
    return compile(this.graph(kind), {
      ...this.settings.compile,
      precision: this.settings.precision,
      arenas: trainingArenas(this.table, this.slots, this.settings.precision),
    });
  }

  /** The graph of a program as traced, before any pass. */
  graph(kind: TrainingProgram): Graph {
    const graph = new Graph();
    if (kind === 'update') {
      this.appendUpdate(graph, graph.readSlot(this.slots.tokenCount), graph.readSlot(this.slots.lossSum));
      return graph;
    }
    const { lossSum, tokenCount } = this.appendLoss(graph, kind !== 'evaluate');
    if (kind === 'evaluate') {
      graph.output('lossSum', lossSum);
      graph.output('tokenCount', tokenCount);
      return graph;
    }
    this.appendGradients(graph, lossSum, kind === 'accumulate');
    if (kind === 'step') {
      this.appendUpdate(graph, tokenCount, lossSum);
      return graph;
    }
    const accumulated = (fresh: Tensor, slot: Slot) =>
      kind === 'accumulate' ? add(graph.readSlot(slot), fresh) : fresh;
    graph.store(accumulated(lossSum, this.slots.lossSum), this.slots.lossSum);
    graph.store(accumulated(tokenCount, this.slots.tokenCount), this.slots.tokenCount);
    return graph;
  }

  private appendLoss(graph: Graph, training: boolean): LossSum {
    const { objective, rows, vocabSize, model } = this.settings;
    const declarations = objective.inputs(rows, vocabSize);
    return trace({ graph, training }, () => {
      const inputs = Object.fromEntries(declarations.map((input) => [input.name, graph.input(input)]));
      return objective.loss(model, inputs, training);
    });
  }

  private appendGradients(graph: Graph, lossSum: Tensor, accumulate: boolean): void {
    const trainable = this.table.entries.filter(({ group }) => group !== 'frozen');
    const found = gradients(
      lossSum,
      trainable.map(({ slot }) => graph.readSlot(slot)),
    );
    trainable.forEach(({ slot, name }, index) => {
      const gradient = found[index];
      if (!gradient) return; // the parameter does not reach the loss: its gradient stays zero
      const target: Slot = { ...slot, arena: 'gradients', name: `gradient of ${name}` };
      graph.store(accumulate ? add(graph.readSlot(target), gradient) : gradient, target);
    });
  }

  private appendUpdate(graph: Graph, tokenCount: Tensor, lossSum: Tensor): void {
    const { optimizer, clip, precision } = this.settings;
    const flat = graph.readSlot(this.slots.gradients);
    const { norm } = appendUpdate(flat, tokenCount, this.slots, optimizer, clip, precision);
    graph.output('lossSum', lossSum);
    graph.output('tokenCount', tokenCount);
    graph.output('gradientNorm', norm);
    graph.output('counters', graph.readSlot(this.slots.counters));
  }
}
