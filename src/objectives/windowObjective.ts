import type { PartName } from '../data/split.js';
import type { TextData } from '../data/textData.js';
import { EvaluationWindows, TrainingWindows } from '../data/windows.js';
import type { Module } from '../nn/index.js';
import { RandomStream } from '../random/stream.js';
import {
  allocateInputs,
  type Batch,
  type BatchOptions,
  type EvaluationBatches,
  type Objective,
  type Tally,
} from './objective.js';

/** What is different from one objective that spoils windows of a text to another. */
export interface WindowTask<Model extends Module>
  extends Pick<Objective<Model, TextData>, 'name' | 'settings' | 'buckets' | 'inputs' | 'loss'> {
  /** Tokens of a window. */
  readonly sequenceLength: number;
  /** Values of arrays that stand for padding where they are not 0. */
  readonly padding: Readonly<Record<string, number>>;
  /** Gives what fills place `place` of the arrays with a window, whose noise comes from `random`; it returns the tokens read. */
  filler(
    data: TextData,
  ): (
    arrays: Readonly<Record<string, Int32Array>>,
    place: number,
    window: Int32Array,
    random: RandomStream,
  ) => number;
  tally(): Tally;
}

// Streams of a seed number its weights from 0; noise has the words 'TR' and 'EV' above the number of its row.
const trainingStreams = 0x5452 * 2 ** 32;
const evaluationStreams = 0x4556 * 2 ** 32;

/** An objective over windows of a text: the noise of a row is a function of the seed and the row's number. */
export function windowObjective<Model extends Module>(task: WindowTask<Model>): Objective<Model, TextData> {
  const { sequenceLength, padding, filler, tally, ...objective } = task;

  const batcher = (
    data: TextData,
    streams: number,
    { batchSize, seed, vocabSize }: Omit<BatchOptions, 'gradientAccumulationSteps'>,
  ) => {
    const arrays = allocateInputs(task.inputs(task.buckets(batchSize)[0], vocabSize)) as Record<
      string,
      Int32Array
    >;
    const fill = filler(data);
    const window = new Int32Array(sequenceLength);
    return (
      firstRow: number,
      rows: number,
      place: (row: number) => { position: number; length: number },
    ): Batch => {
      for (const [name, array] of Object.entries(arrays)) array.fill(padding[name] ?? 0);
      let tokens = 0;
      for (let index = 0; index < rows; index++) {
        const row = firstRow + index;
        const { position, length } = place(row);
        data.source.read(position, window, 0, length);
        tokens += fill(arrays, index, window.subarray(0, length), new RandomStream(seed, streams + row));
      }
      return { bucket: 0, arrays, tokens };
    };
  };

  return {
    ...objective,
    has: ({ parts }, part) => parts[part].end - parts[part].start >= 2,
    training(data, options) {
      const { batchSize, gradientAccumulationSteps, seed } = options;
      const windows = new TrainingWindows(data.parts.train, sequenceLength, seed);
      const batch = batcher(data, trainingStreams, options);
      const place = (row: number) => ({ position: windows.position(row), length: sequenceLength });
      return {
        data: { tokens: data.source.count, train: data.parts.train },
        skippedRows: 0,
        batchAt: (step, microStep) =>
          batch((step * gradientAccumulationSteps + microStep) * batchSize, batchSize, place),
      };
    },
    evaluation(data, part: PartName, options): EvaluationBatches {
      const { batchSize } = options;
      const windows = new EvaluationWindows(data.parts[part], sequenceLength, part);
      const batch = batcher(data, evaluationStreams, options);
      return {
        count: Math.ceil(windows.count / batchSize),
        skippedRows: 0,
        batchAt: (index) => {
          const first = index * batchSize;
          return batch(first, Math.min(batchSize, windows.count - first), (row) => windows.window(row));
        },
        tally,
      };
    },
  };
}
