import { resolve } from 'node:path';
import {
  adapterConfigName,
  type Checkpoint,
  type CheckpointFile,
  readCheckpointJson,
} from '../checkpoint/checkpoint.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { weightsDigest } from '../checkpoint/weightsDigest.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { openBase } from '../generate/baseModel.js';
import { modelFiles, tensorSources } from '../generate/modelFiles.js';
import type { ParameterMirror } from '../generate/parameterMirror.js';
import type { Slot } from '../graph/graph.js';
import { adaptedLayers, isAdapter } from '../models/adapters.js';
import { type CheckpointTensor, checkpointTensors } from '../models/checkpointTensors.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { type BaseModel, fromAdapterConfigJson, readAdapterTensors } from '../models/savedAdapters.js';
import { readTensors } from '../models/weights.js';
import type { Module } from '../nn/index.js';
import type { Session } from '../runtime/session.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { TrainingSlots } from './arenas.js';
import type { EarlyStoppingState } from './earlyStopping.js';

// Names of the files in a checkpoint folder.
const optimizerName = 'optimizer.safetensors';
const positionName = 'trainer.json';

/** Everything of a run that is not an array. The data position follows from `step`. */
export interface RunPosition {
  readonly version: 1;
  /** Updates made, skipped ones included. */
  readonly step: number;
  /** An evaluation that was due when the run was stopped. */
  readonly evaluationDue: boolean;
  /** Losses of the latest steps, oldest first. */
  readonly recentLosses: readonly number[];
  readonly earlyStopping: EarlyStoppingState;
  /** How a GPU computed matrix products (`SessionStats.matmulChoices`); absent from older checkpoints. */
  readonly matmulChoices?: string;
  /** Settings that a resumed run must share, and what it ran on. */
  readonly run: Readonly<Record<string, unknown>>;
}

/** Reads and writes the persistent arenas of a training session as checkpoint files. */
export class RunState {
  /** Of a model with adapters those that are trained, which are kept apart from its base; else all. */
  private readonly saved: readonly CheckpointTensor[];
  private readonly tensors: readonly CheckpointTensor[];
  private readonly hasAdapters: boolean;
  private base: BaseModel | undefined;

  constructor(
    private readonly session: Session,
    private readonly model: Module,
    private readonly table: ParameterTable,
    private readonly slots: TrainingSlots,
    private readonly mirror: ParameterMirror,
    private readonly tokenizer: Tokenizer | undefined,
    private readonly settings: Readonly<Record<string, unknown>>,
    /** JSON of the objective's own, by the name of its file. */
    private readonly objectiveFiles: Readonly<Record<string, unknown>> = {},
  ) {
    this.tensors = checkpointTensors(model, table);
    this.hasAdapters = adaptedLayers(model).size > 0;
    const trained = new Set(table.entries.flatMap(({ group, name }) => (group === 'frozen' ? [] : [name])));
    this.saved = this.hasAdapters
      ? this.tensors.filter(({ parameter }) => trained.has(parameter))
      : this.tensors;
  }

  /** Config, tokenizer and weights, or the adapters in their place: what generating needs. Throws ConfigError. */
  weightFiles(): CheckpointFile[] {
    if (this.hasAdapters && !this.base) {
      throw new ConfigError(
        'adapters are saved apart from the model they correct: name it with initFrom, and save after run has begun',
      );
    }
    const { session, model, tokenizer, settings, objectiveFiles: others, saved: tensors } = this;
    return modelFiles({ session, model, tokenizer, settings, others, tensors }, this.base);
  }

  /** All files a run goes on from. */
  files(position: RunPosition): CheckpointFile[] {
    const sources = tensorSources(this.session, 'optimizerState', this.optimizerSlots());
    return [
      ...this.weightFiles(),
      { name: optimizerName, write: (path) => writeSafetensors(path, sources) },
      { name: positionName, json: position },
    ];
  }

  private optimizerSlots(): readonly Slot[] {
    return [this.slots.counters, ...this.slots.moments];
  }

  /** All parameters as they lie in their arena; `into` is reused. */
  copyWeights(into = new Uint8Array(4 * this.table.elements)): Promise<Uint8Array<ArrayBuffer>> {
    return this.session.read('parameters', 0, into);
  }

  async putWeights(weights: Uint8Array): Promise<void> {
    await this.session.write('parameters', 0, weights);
    await this.mirror.refresh();
  }

  private readonly put = (offset: number, values: ArrayBufferView): Promise<void> =>
    this.session.write('parameters', offset, values);

  /** Puts back what `weightFiles` saved. */
  async restoreWeights({ folder }: Pick<Checkpoint, 'folder'>): Promise<void> {
    await (this.hasAdapters ? readAdapterTensors : readTensors)(folder, this.saved, this.put);
    await this.mirror.refresh();
  }

  /**
   * Takes over the tensors of a checkpoint that fit by name and shape; returns the names of those that it has not. Adapters have it
   * for their base. Throws CheckpointError.
   */
  async adoptWeights({ folder }: Pick<Checkpoint, 'folder'>): Promise<{ taken: number; missing: string[] }> {
    const missing: string[] = [];
    const wanted = this.tensors.filter(({ parameter }) => !isAdapter(parameter));
    await readTensors(folder, wanted, this.put, (name) => missing.push(name));
    if (this.hasAdapters) {
      const lost = missing.find((name) => !this.saved.some((tensor) => tensor.name === name));
      if (lost !== undefined) {
        throw new CheckpointError(
          `${folder} lacks ${lost}, which adapters would leave as it starts; name it among what is trained`,
          { name: lost },
        );
      }
      this.base = { path: resolve(folder), sha256: await weightsDigest(folder) };
    }
    await this.mirror.refresh();
    return { taken: wanted.length - missing.length, missing };
  }

  /** Where the run of a checkpoint was. */
  static async positionOf(checkpoint: Checkpoint): Promise<RunPosition> {
    const position = (await readCheckpointJson(checkpoint, positionName)) as RunPosition;
    if (position?.version !== 1 || !Number.isSafeInteger(position.step)) {
      throw new CheckpointError(
        `${checkpoint.folder}/${positionName} is no position of a run; start the run anew`,
      );
    }
    return position;
  }

  /** Puts weights and optimizer state back; those of a base come from where it was, or from `initFrom`. */
  async restoreAll(checkpoint: Checkpoint, initFrom?: string): Promise<void> {
    if (this.hasAdapters) {
      const { base } = fromAdapterConfigJson(await readCheckpointJson(checkpoint, adapterConfigName));
      const { folder } = await openBase(base, initFrom);
      const saved = new Set(this.saved);
      const wanted = this.tensors.filter((tensor) => !saved.has(tensor) && !isAdapter(tensor.parameter));
      await readTensors(folder, wanted, this.put);
      this.base = { ...base, path: resolve(folder) };
    }
    await this.restoreWeights(checkpoint);
    const optimizerFile = `${checkpoint.folder}/${optimizerName}`;
    await readTensors(optimizerFile, this.optimizerSlots(), (offset, values) =>
      this.session.write('optimizerState', offset, values),
    );
  }
}
