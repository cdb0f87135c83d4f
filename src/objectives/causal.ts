import { allocateBatch, EvaluationLoader, TrainingLoader } from '../data/loader.js';
import type { PartName } from '../data/split.js';
import type { TextData } from '../data/textData.js';
import { bitsPerUnit, countUnits } from '../data/units.js';
import type { LanguageModel } from '../models/decoder.js';
import { crossEntropy } from '../ops/index.js';
import type { Batch, EvaluationBatches, Objective, TrainingBatches } from './objective.js';

export interface CausalOptions {
  /** Tokens of a row. */
  sequenceLength: number;
  /** Share of the target's probability that is spread over the vocabulary, in training only. Default 0. */
  labelSmoothing?: number;
}

/** Causal language modelling: at every place, the next token. Targets are shifted already; -1 counts nothing. */
export const causal = ({
  sequenceLength,
  labelSmoothing = 0,
}: CausalOptions): Objective<LanguageModel, TextData> => ({
  name: 'causal',
  settings: { sequenceLength, labelSmoothing },
  continuesTexts: true,
  buckets: (batchSize) => [{ rows: batchSize, length: sequenceLength }],
  inputs: ({ rows, length }, vocabSize) => [
    { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
    { name: 'targets', shape: [rows, length], dtype: 'i32', minimum: -1, limit: vocabSize },
  ],
  loss: (model, { inputIds, targets }, training) =>
    crossEntropy(model.forward({ inputIds }).logits, targets, training ? labelSmoothing : 0),
  training(data, { batchSize, gradientAccumulationSteps, seed }): TrainingBatches {
    const shape = { batchSize, sequenceLength };
    const loader = new TrainingLoader(data.source, data.parts.train, {
      ...shape,
      seed,
      gradientAccumulationSteps,
    });
    const arrays = allocateBatch(shape);
    const batch: Batch = { bucket: 0, arrays: { ...arrays }, tokens: batchSize * sequenceLength };
    return {
      data: { tokens: data.source.count, train: data.parts.train },
      skippedRows: 0,
      batchAt(step, microStep) {
        loader.batchAt(step, microStep, arrays);
        return batch;
      },
    };
  },
  has: ({ parts }, part) => parts[part].end - parts[part].start >= 2,
  evaluation: (data, part, { batchSize }) => evaluationWindows(data, part, { batchSize, sequenceLength }),
});

/** Every token of a part but the first is a target exactly once. */
function evaluationWindows(
  data: TextData,
  part: PartName,
  shape: { batchSize: number; sequenceLength: number },
): EvaluationBatches {
  const range = data.parts[part];
  const loader = new EvaluationLoader(data.source, range, shape, part);
  const arrays = allocateBatch(shape);
  const predicted = { start: range.start + 1, end: range.end };
  const unitsPerToken = countUnits(data.source, predicted, data.tokenizer) / loader.targets;
  return {
    count: loader.batches,
    skippedRows: 0,
    batchAt: (index) => ({ bucket: 0, arrays: { ...arrays }, tokens: loader.batchAt(index, arrays) }),
    tally: () => ({
      add() {}, // the loss says all
      metrics: (loss) => ({
        perplexity: Math.exp(loss),
        bitsPerCharacter: bitsPerUnit(loss, 1, unitsPerToken),
      }),
    }),
  };
}
