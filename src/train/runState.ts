import { type Checkpoint, type CheckpointFile, readCheckpointJson } from '../checkpoint/checkpoint.js';
import { type TensorSource, writeSafetensors } from '../checkpoint/safetensors.js';
import { CheckpointError } from '../errors.js';
import type { ParameterMirror } from '../generate/parameterMirror.js';
import type { Slot } from '../graph/graph.js';
import { type CheckpointTensor, checkpointTensors } from '../models/checkpointTensors.js';
import { isConfigured, toConfigJson } from '../models/huggingFace.js';
import type { ParameterTable } from '../models/parameterTable.js';
import { readTensors } from '../models/weights.js';
import type { Module } from '../nn/index.js';
import type { Session } from '../runtime/session.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { TrainingSlots } from './arenas.js';
import type { EarlyStoppingState } from './earlyStopping.js';

// Names of the files in a checkpoint folder.
const weightsName = 'model.safetensors';
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
  private readonly tensors: readonly CheckpointTensor[];

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
  }

  /** Config, tokenizer and weights: what generating needs. */
  weightFiles(): CheckpointFile[] {
    const sources = this.tensors.map(
      ({ name, shape, offset }): TensorSource => ({
        name,
        shape,
        dtype: 'F32',
        source: async (from, target) => {
          await this.session.read('parameters', offset + from, target);
        },
      }),
    );
    return [
      { name: 'config.json', json: isConfigured(this.model) ? toConfigJson(this.model) : {} },
      ...(this.tokenizer ? [{ name: 'tokenizer.json', json: this.tokenizer.toJSON() }] : []),
      { name: 'settings.json', json: this.settings },
      ...Object.entries(this.objectiveFiles).map(([name, json]) => ({ name, json })),
      { name: weightsName, write: (path) => writeSafetensors(path, sources, { format: 'pt' }) },
    ];
  }

  /** All files a run goes on from. */
  files(position: RunPosition): CheckpointFile[] {
    const sources = this.optimizerSlots().map(
      ({ name, shape, dtype, offset }): TensorSource => ({
        name,
        shape,
        dtype: dtype === 'i32' ? 'I32' : 'F32',
        source: async (from, target) => {
          await this.session.read('optimizerState', offset + from, target);
        },
      }),
    );
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

  async restoreWeights({ folder }: Pick<Checkpoint, 'folder'>): Promise<void> {
    await readTensors(`${folder}/${weightsName}`, this.tensors, (offset, values) =>
      this.session.write('parameters', offset, values),
    );
    await this.mirror.refresh();
  }

  /** Takes over the tensors of a checkpoint that fit by name and shape; returns the names of those that it has not. */
  async adoptWeights({ folder }: Pick<Checkpoint, 'folder'>): Promise<{ taken: number; missing: string[] }> {
    const missing: string[] = [];
    await readTensors(
      folder,
      this.tensors,
      (offset, values) => this.session.write('parameters', offset, values),
      (name) => missing.push(name),
    );
    await this.mirror.refresh();
    return { taken: this.tensors.length - missing.length, missing };
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

  /** Puts weights and optimizer state back. */
  async restoreAll(checkpoint: Checkpoint): Promise<void> {
    await this.restoreWeights(checkpoint);
    await readTensors(`${checkpoint.folder}/${optimizerName}`, this.optimizerSlots(), (offset, values) =>
      this.session.write('optimizerState', offset, values),
    );
  }
}
