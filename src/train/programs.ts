import { type CompileOptions, compile, gradients, type Program } from '../compile/index.js';
import { evaluationGraph, traceLoss } from '../evaluate/program.js';
import { Graph, type Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import type { ParameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import type { Bucket, Objective, ObjectiveData } from '../objectives/objective.js';
import { add } from '../ops/index.js';
import type { Precision } from '../shape/dtype.js';
import { type TrainingSlots, trainingArenas, trainingSlots } from './arenas.js';
import { appendUpdate, type ClipSettings, type OptimizerSettings } from './optimizer.js';

export interface ProgramSettings<Model extends Module = Module, Data extends ObjectiveData = ObjectiveData> {
  readonly model: Model;
  readonly objective: Objective<Model, Data>;
  readonly vocabSize: number;
  /** Rows of a batch, where the objective does not count tokens instead. */
  readonly rows: number;
  readonly optimizer: OptimizerSettings;
  readonly clip: ClipSettings;
  /** Default float32. */
  readonly precision?: Precision;
  readonly compile?: CompileOptions;
}

/** The programs of a training run: `step`, or with accumulation `first`, `accumulate` and `update`; and `evaluate`. */
export type TrainingProgram = 'step' | 'first' | 'accumulate' | 'update' | 'evaluate';

/** Builds and compiles the programs of a run over one parameter table. `update` is the same for every bucket. */
export class ProgramBuilder<Model extends Module, Data extends ObjectiveData> {
  readonly slots: TrainingSlots;
  readonly buckets: readonly Bucket[];

  constructor(
    readonly table: ParameterTable,
    private readonly settings: ProgramSettings<Model, Data>,
  ) {
    this.slots = trainingSlots(table, settings.optimizer);
    this.buckets = settings.objective.buckets(settings.rows);
  }

  build(kind: TrainingProgram, bucket = 0): Program {
    return compile(this.graph(kind, bucket), {
      ...this.settings.compile,
      precision: this.settings.precision,
      arenas: trainingArenas(this.table, this.slots, this.settings.precision),
    });
  }

  /** The programs of a kind, one a bucket. */
  buildAll(kind: TrainingProgram): Program[] {
    const buckets = kind === 'update' ? this.buckets.slice(0, 1) : this.buckets;
    return buckets.map((_, bucket) => this.build(kind, bucket));
  }

  /** The graph of a program as traced, before any pass. */
  graph(kind: TrainingProgram, bucketIndex = 0): Graph {
    const { model, objective, vocabSize } = this.settings;
    const bucket = this.buckets[bucketIndex];
    if (kind === 'evaluate') return evaluationGraph(model, objective, { bucket, vocabSize });
    const graph = new Graph();
    if (kind === 'update') {
      this.appendUpdate(graph, graph.readSlot(this.slots.tokenCount), graph.readSlot(this.slots.lossSum));
      return graph;
    }
    const shape = { bucket, vocabSize, training: true };
    const { lossSum, tokenCount } = traceLoss(graph, model, objective, shape);
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
