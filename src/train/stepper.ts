import type { TextData } from '../data/textData.js';
import { ParameterMirror } from '../generate/parameterMirror.js';
import type { LanguageModel } from '../models/decoder.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import type { Objective, ObjectiveData, TrainingBatches } from '../objectives/objective.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram, type Outputs } from '../runtime/loadedProgram.js';
import { Session, type SessionOptions } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import type { TrainingSlots } from './arenas.js';
import { writeInitialState } from './initialState.js';
import type { ClipSettings, OptimizerSettings } from './optimizer.js';
import { ProgramBuilder, type TrainingProgram } from './programs.js';

export interface StepperOptions<Model extends Module = LanguageModel, Data extends ObjectiveData = TextData> {
  readonly model: Model;
  readonly objective: Objective<Model, Data>;
  readonly data: Data;
  /** Size of the model's vocabulary. Default: the tokenizer's; more where special tokens stand behind it. */
  readonly vocabSize?: number;
  readonly optimizer: OptimizerSettings;
  readonly batchSize: number;
  readonly maxSteps: number;
  readonly gradientAccumulationSteps: number;
  readonly clip: ClipSettings;
  /** Computes blocks a second time in the backward pass instead of keeping their activations. Default false. */
  readonly recompute?: boolean;
  readonly seed: number;
  /** What matrices and activations are. Default float32. */
  readonly precision?: Precision;
  readonly device?: SessionOptions['device'];
  readonly threads?: number;
  readonly tf32?: boolean;
}

/** What one update reports. */
export interface StepResult {
  /** Mean over counted targets, in nats. */
  readonly loss: number;
  /** Of the mean gradient, before clipping. */
  readonly gradientNorm: number;
  /** Updates skipped in a row for non-finite gradients; 0 where this one was applied. */
  readonly skippedInRow: number;
  /** Tokens the update went over, without padding. */
  readonly tokens: number;
}

/** A model on a device with its programs and data: makes updates, and knows nothing of events, files or schedules of evaluation. */
export class Stepper<Model extends Module = LanguageModel, Data extends ObjectiveData = TextData> {
  readonly session: Session;
  readonly table: ParameterTable;
  readonly slots: TrainingSlots;
  readonly mirror: ParameterMirror;
  readonly batches: TrainingBatches;
  readonly vocabSize: number;
  /** Whether an update may be queued while another runs: one program an update, no accumulation between them. */
  readonly queues: boolean;
  private readonly builder: ProgramBuilder<Model, Data>;
  /** By kind, then by bucket. */
  private programs: ReadonlyMap<TrainingProgram, readonly LoadedProgram[]> = new Map();
  private loading: Promise<void> | undefined;

  constructor(private readonly options: StepperOptions<Model, Data>) {
    const { model, objective, data, batchSize, optimizer, clip, gradientAccumulationSteps, seed } = options;
    const { precision } = options;
    this.table = parameterTable(model);
    const vocabSize = options.vocabSize ?? data.tokenizer?.vocabSize ?? 0;
    this.vocabSize = vocabSize;
    this.builder = new ProgramBuilder(this.table, {
      model,
      objective,
      vocabSize,
      rows: batchSize,
      optimizer,
      clip,
      precision,
      compile: { recompute: options.recompute },
    });
    this.slots = this.builder.slots;
    this.batches = objective.training(data, { batchSize, gradientAccumulationSteps, seed, vocabSize });
    this.queues = gradientAccumulationSteps === 1;
    this.session = Session.open({
      device: options.device,
      threads: options.threads,
      tf32: options.tf32,
    });
    this.mirror = new ParameterMirror(this.session, this.table, precision ?? 'float32');
  }

  /** Compiles, loads and gives parameters their first values, once; `matmulChoices` as for Session.load. */
  load(matmulChoices?: string): Promise<void> {
    this.loading ??= this.loadOnce(matmulChoices);
    return this.loading;
  }

  private async loadOnce(matmulChoices?: string): Promise<void> {
    const { model, seed } = this.options;
    const kinds: TrainingProgram[] = this.queues
      ? ['step', 'evaluate']
      : ['first', 'accumulate', 'update', 'evaluate'];
    const built = kinds.map((kind) => ({ kind, programs: this.builder.buildAll(kind) }));
    const loaded = await LoadedProgram.load(
      this.session,
      built.flatMap(({ programs }) => programs),
      matmulChoices,
    );
    this.programs = new Map(built.map(({ kind, programs }) => [kind, loaded.splice(0, programs.length)]));
    const { table, slots, mirror } = this;
    await writeInitialState(this.session, { model, table, slots, mirror, seed });
  }

  /** Programs that score, one a bucket. */
  get evaluation(): readonly LoadedProgram[] {
    return this.programs.get('evaluate')!;
  }

  /** The learning rate of the update after `step` earlier ones. */
  rateAt(step: number): number {
    const { optimizer, maxSteps } = this.options;
    const { learningRate } = optimizer;
    return typeof learningRate === 'number' ? learningRate : learningRate(step, maxSteps);
  }

  /** Queues the update after `step` earlier ones. Load first. */
  async submit(step: number): Promise<StepResult> {
    if (this.queues) {
      const { running, tokens } = this.runBatch('step', step, 0);
      return resultOf(await running, tokens);
    }
    let running: Promise<unknown> = Promise.resolve();
    let tokens = 0;
    for (let microStep = 0; microStep < this.options.gradientAccumulationSteps; microStep++) {
      const next = this.runBatch(microStep === 0 ? 'first' : 'accumulate', step, microStep);
      await running; // one runs while the next is being prepared
      running = next.running;
      tokens += next.tokens;
    }
    await running;
    return resultOf(await this.programs.get('update')![0].run(this.scalars(step, 0)), tokens);
  }

  private runBatch(
    kind: TrainingProgram,
    step: number,
    microStep: number,
  ): { running: Promise<Outputs>; tokens: number } {
    const { bucket, arrays, tokens } = this.batches.batchAt(step, microStep);
    const program = this.programs.get(kind)![bucket];
    program.fill(arrays);
    return { running: program.run(this.scalars(step, microStep)), tokens };
  }

  private scalars(step: number, microStep: number): Float64Array {
    return encodeScalars({ learningRate: this.rateAt(step), seed: this.options.seed, step, microStep });
  }
}

const resultOf = (outputs: Outputs, tokens: number): StepResult => ({
  loss: outputs.scalar('lossSum') / outputs.scalar('tokenCount'),
  gradientNorm: outputs.scalar('gradientNorm'),
  skippedInRow: outputs.get<'i32'>('counters')[2],
  tokens,
});
