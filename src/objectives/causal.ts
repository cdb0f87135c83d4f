import { allocateBatch, type BatchShape, EvaluationLoader, TrainingLoader } from '../data/loader.js';
import type { PartName } from '../data/split.js';
import type { TextData } from '../data/textData.js';
import { bitsPerUnit, countUnits } from '../data/units.js';
import type { InputDeclaration } from '../graph/graph.js';
import type { LanguageModel } from '../models/decoder.js';
import { crossEntropy } from '../ops/index.js';
import type { Batch, EvaluationBatches, Objective, TrainingBatches } from './objective.js';

export interface CausalOptions {
  /** Tokens of a row. */
  sequenceLength: number;
  /** Share of the target's probability that is spread over the vocabulary, in training only. Default 0. */
  labelSmoothing?: number;
  /**
   * Tokens see those of their own document only, positions begin anew with each, and the first token of a document is no target;
   * so a row trains as if each document in it stood alone. Data should end documents with a token (`endDocuments` of
   * `textData`). A model of your own has to heed `documentStarts` and `positionIds`. Default false.
   */
  packDocuments?: boolean;
}

/** Causal language modelling: at every place, the next token. Targets are shifted already; -1 counts nothing. */
export const causal = ({
  sequenceLength,
  labelSmoothing = 0,
  packDocuments = false,
}: CausalOptions): Objective<LanguageModel, TextData> => ({
  name: 'causal',
  settings: { sequenceLength, labelSmoothing, packDocuments },
  continuesTexts: true,
  buckets: (batchSize) => [{ rows: batchSize, length: sequenceLength }],
  inputs: ({ rows, length }, vocabSize) => [
    { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
    { name: 'targets', shape: [rows, length], dtype: 'i32', minimum: -1, limit: vocabSize },
    ...(packDocuments ? ['documentStarts', 'positionIds'] : []).map(
      (name): InputDeclaration => ({ name, shape: [rows, length], dtype: 'i32', minimum: 0, limit: length }),
    ),
  ],
  loss: (model, { inputIds, targets, documentStarts, positionIds }, training) =>
    crossEntropy(
      model.forward({ inputIds, documentStarts, positionIds }).logits,
      targets,
      training ? labelSmoothing : 0,
    ),
  training(data, { batchSize, gradientAccumulationSteps, seed }): TrainingBatches {
    const shape = { batchSize, sequenceLength, packDocuments };
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
  evaluation: (data, part, { batchSize }) =>
    evaluationWindows(data, part, { batchSize, sequenceLength, packDocuments }),
});

function evaluationWindows(data: TextData, part: PartName, shape: BatchShape): EvaluationBatches {
  const range = data.parts[part];
  const loader = new EvaluationLoader(data.source, range, shape, part);
  const arrays = allocateBatch(shape);
  const predicted = { start: range.start + 1, end: range.end };
  const units = countUnits(data.source, predicted, data.tokenizer) - firstUnits(data, loader.documentStarts);
  const unitsPerToken = units / loader.targets;
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

/** What the tokens at these positions stand for. */
function firstUnits({ source, tokenizer }: TextData, positions: Float64Array): number {
  const token = new Int32Array(1);
  let units = 0;
  for (const position of positions) {
    source.read(position, token, 0, 1);
    units += tokenizer.units(token[0]);
  }
  return units;
}
