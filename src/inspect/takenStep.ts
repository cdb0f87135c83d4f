import type { CompileOptions, Program } from '../compile/index.js';
import { splitTokens } from '../data/split.js';
import type { TextData } from '../data/textData.js';
import { MemoryTokens } from '../data/tokenSource.js';
import { ParameterMirror } from '../generate/parameterMirror.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import type { Module } from '../nn/index.js';
import type { Batch, ObjectiveData } from '../objectives/objective.js';
import { RandomStream } from '../random/stream.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import type { Session } from '../runtime/session.js';
import { ByteTokenizer } from '../text/bytes.js';
import { writeInitialState } from '../train/initialState.js';
import { ProgramBuilder, type TrainingProgram } from '../train/programs.js';
import type { StepperOptions } from '../train/stepper.js';

/** What of a training run decides its programs and its first batch. */
export interface TakenStepOptions<Model extends Module = Module, Data extends ObjectiveData = ObjectiveData>
  extends Pick<
    StepperOptions<Model, Data>,
    'model' | 'objective' | 'data' | 'batchSize' | 'optimizer' | 'clip' | 'seed' | 'precision' | 'recompute'
  > {
  readonly vocabSize: number;
}

/** One program of a training run, to be looked at by itself: with the weights that a run from scratch begins with, and its first batch. */
export class TakenStep<Model extends Module, Data extends ObjectiveData> {
  readonly program: Program;
  private readonly table: ParameterTable;
  private readonly builder: ProgramBuilder<Model, Data>;
  private readonly batch: Batch | undefined;

  constructor(
    private readonly options: TakenStepOptions<Model, Data>,
    kind: TrainingProgram,
    compile: CompileOptions = {},
  ) {
    const { model, objective, vocabSize, batchSize, optimizer, clip, precision, recompute } = options;
    this.table = parameterTable(model);
    this.builder = new ProgramBuilder(this.table, {
      model,
      objective,
      vocabSize,
      rows: batchSize,
      optimizer,
      clip,
      precision,
      compile: { ...compile, recompute },
    });
    this.batch = this.batchOf(kind);
    this.program = this.builder.build(kind, this.batch?.bucket);
  }

  /** Loads the program, all of its inputs filled in and whatever it reads of parameters and optimizer state in place. */
  async load(session: Session): Promise<LoadedProgram> {
    const { model, precision = 'float32', seed } = this.options;
    const [loaded] = await LoadedProgram.load(session, [this.program]);
    const { table } = this;
    const mirror = new ParameterMirror(session, table, precision);
    await writeInitialState(session, { model, table, slots: this.builder.slots, mirror, seed });
    if (this.batch) loaded.fill(this.batch.arrays);
    return loaded;
  }

  private batchOf(kind: TrainingProgram): Batch | undefined {
    const { objective, data, batchSize, seed, vocabSize } = this.options;
    const options = { batchSize, gradientAccumulationSteps: 1, seed, vocabSize };
    if (kind === 'update') return undefined;
    if (kind === 'evaluate') return objective.evaluation(data, 'train', options).batchAt(0);
    return objective.training(data, options).batchAt(0, 0);
  }
}

/** Random tokens in place of a text: neither speed nor the agreement of devices depends on what a text says. */
export function randomText(vocabSize: number, count: number, seed: number): TextData {
  const random = new RandomStream(seed);
  const ids = Uint32Array.from({ length: count }, () => Math.floor(random.uniform() * vocabSize));
  // Its ids are never turned into text.
  const tokenizer = Object.assign(Object.create(new ByteTokenizer()), { vocabSize });
  return {
    name: 'random tokens',
    source: new MemoryTokens(ids, vocabSize),
    tokenizer,
    parts: splitTokens(count, [1, 0, 0]),
  };
}
