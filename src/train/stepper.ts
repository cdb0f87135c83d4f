import { allocateBatch, type Batch, TrainingLoader } from '../data/loader.js';
import type { TextData } from '../data/textData.js';
import { ParameterMirror } from '../generate/parameterMirror.js';
import type { LanguageModel } from '../models/decoder.js';
import { initialValues } from '../models/initialize.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import type { Objective } from '../objectives/objective.js';
import { encodeScalars } from '../ops/scalars.js';
import { LoadedProgram, type Outputs } from '../runtime/loadedProgram.js';
import { Session, type SessionOptions } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import type { TrainingSlots } from './arenas.js';
import type { ClipSettings, OptimizerSettings } from './optimizer.js';
import { ProgramBuilder, type TrainingProgram } from './programs.js';

export interface StepperOptions {
  readonly model: LanguageModel;
  readonly objective: Objective<LanguageModel>;
  readonly data: TextData;
  readonly optimizer: OptimizerSettings;
  readonly batchSize: number;
  readonly maxSteps: number;
  readonly gradientAccumulationSteps: number;
  readonly clip: ClipSettings;
  readonly seed: number;
  /** What matrices and activations are. */
  readonly precision?: Precision;
  readonly device?: SessionOptions['device'];
  readonly threads?: number;
}

/** What one update reports. */
export interface StepResult {
  /** Mean over counted targets, in nats. */
  readonly loss: number;
  /** Of the mean gradient, before clipping. */
  readonly gradientNorm: number;
  /** Updates skipped in a row for non-finite gradients; 0 where this one was applied. */
  readonly skippedInRow: number;
}

/** A model on a device with its programs and data: makes updates, and knows nothing of events, files or schedules of evaluation. */
export class Stepper {
  readonly session: Session;
  readonly table: ParameterTable;
  readonly slots: TrainingSlots;
  readonly mirror: ParameterMirror;
  /** Whether an update may be queued while another runs: one program an update, no accumulation between them. */
  readonly queues: boolean;
  private readonly builder: ProgramBuilder;
  private readonly loader: TrainingLoader;
  private readonly batch: Batch;
  private programs: ReadonlyMap<TrainingProgram, LoadedProgram> = new Map();
  private loading: Promise<void> | undefined;

  constructor(private readonly options: StepperOptions) {
    const { model, objective, data, batchSize, optimizer, clip, gradientAccumulationSteps, precision } =
      options;
    const { sequenceLength } = objective;
    this.table = parameterTable(model);
    this.builder = new ProgramBuilder(this.table, {
      model,
      objective,
      vocabSize: data.tokenizer.vocabSize,
      rows: batchSize,
      optimizer,
      clip,
      precision,
    });
    this.slots = this.builder.slots;
    const { seed } = options;
    const shape = { batchSize, sequenceLength };
    this.loader = new TrainingLoader(data.source, data.parts.train, {
      ...shape,
      seed,
      gradientAccumulationSteps,
    });
    this.batch = allocateBatch(shape);
    this.queues = gradientAccumulationSteps === 1;
    this.session = Session.open({ device: options.device, threads: options.threads });
    this.mirror = new ParameterMirror(this.session, this.table, precision ?? 'float32');
  }

  /** Compiles, loads and gives parameters their first values, once. */
  load(): Promise<void> {
    this.loading ??= this.loadOnce();
    return this.loading;
  }

  private async loadOnce(): Promise<void> {
    const { model, seed } = this.options;
    const kinds: TrainingProgram[] = this.queues
      ? ['step', 'evaluate']
      : ['first', 'accumulate', 'update', 'evaluate'];
    const loaded = await LoadedProgram.load(
      this.session,
      kinds.map((kind) => this.builder.build(kind)),
    );
    this.programs = new Map(kinds.map((kind, index) => [kind, loaded[index]]));
    for (const { entry, values } of initialValues(model, this.table, seed)) {
      await this.session.write('parameters', entry.slot.offset, values);
    }
    await this.mirror.refresh();
    await this.session.write('optimizerState', this.slots.blocks.offset, this.table.blocks);
  }

  get evaluation(): LoadedProgram {
    return this.programs.get('evaluate')!;
  }

  /** The learning rate of the update after `step` earlier ones. */
  rateAt(step: number): number {
    const { optimizer, maxSteps } = this.options;
    const { learningRate } = optimizer;
    return typeof learningRate === 'number' ? learningRate : learningRate(step, maxSteps);
  }

  /** Tokens that one update goes over. */
  get tokensPerStep(): number {
    const { batchSize, gradientAccumulationSteps, objective } = this.options;
    return batchSize * gradientAccumulationSteps * objective.sequenceLength;
  }

  /** Queues the update after `step` earlier ones. Load first. */
  async submit(step: number): Promise<StepResult> {
    if (this.queues) return resultOf(await this.run('step', step, 0));
    let running: Promise<unknown> = Promise.resolve();
    for (let microStep = 0; microStep < this.options.gradientAccumulationSteps; microStep++) {
      const next = this.run(microStep === 0 ? 'first' : 'accumulate', step, microStep);
      await running; // one runs while the next is being prepared
      running = next;
    }
    await running;
    return resultOf(await this.run('update', step, 0));
  }

  private run(kind: TrainingProgram, step: number, microStep: number): Promise<Outputs> {
    const program = this.programs.get(kind)!;
    if (kind !== 'update') {
      this.loader.batchAt(step, microStep, this.batch);
      program.input('inputIds').set(this.batch.inputIds);
      program.input('targets').set(this.batch.targets);
    }
    const { seed } = this.options;
    return program.run(encodeScalars({ learningRate: this.rateAt(step), seed, step, microStep }));
  }
}

const resultOf = (outputs: Outputs): StepResult => ({
  loss: outputs.scalar('lossSum') / outputs.scalar('tokenCount'),
  gradientNorm: outputs.scalar('gradientNorm'),
  skippedInRow: outputs.get<'i32'>('counters')[2],
});
