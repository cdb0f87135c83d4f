// Classifiers over bags of words, held against each other by cross-validation on a training part alone: mean accuracy over the folds.
import { join } from 'node:path';
import { labelledData } from '#src/data/labelled.js';
import type { LabelledData, LabelledRows } from '#src/data/rowData.js';
import { idsOf, memoryRows } from '#src/data/rows.js';
import { Mlp } from '#src/models/mlp.js';
import { bagOfWordsClassification } from '#src/objectives/bagOfWords.js';
import { Permutation } from '#src/random/permutation.js';
import { BagOfWords, featureWeightings } from '#src/text/bagOfWords.js';
import { cosine } from '#src/train/learningRate.js';
import { adamw } from '#src/train/optimizer.js';
import { Trainer } from '#src/train/trainer.js';
import { machine } from './machine.js';

export interface FeaturesBenchOptions {
  /** Folder with sst2/train.tsv. */
  readonly data: string;
  /** Folds. */
  readonly rounds: number;
}

export const defaultFeaturesBenchOptions: FeaturesBenchOptions = { data: '../shared/data', rounds: 5 };

const plain = {
  weighting: 'tfidf' as (typeof featureWeightings)[number],
  maxNgram: 2,
  minCount: 1,
  hiddenSizes: [] as readonly number[],
  dropout: 0,
  learningRate: 0.01,
  weightDecay: 0.01,
  maxSteps: 1000,
};
type Case = typeof plain;

const cases: Case[] = [
  ...featureWeightings.flatMap((weighting) =>
    [1, 2].flatMap((maxNgram) => [1, 2].map((minCount) => ({ ...plain, weighting, maxNgram, minCount }))),
  ),
  ...[0, 0.1, 1].map((weightDecay) => ({ ...plain, weightDecay })),
  ...[0.003, 0.03].map((learningRate) => ({ ...plain, learningRate })),
  ...[500, 2000].map((maxSteps) => ({ ...plain, maxSteps })),
  ...[0, 0.5].map((dropout) => ({ ...plain, maxNgram: 1, hiddenSizes: [64], dropout })),
];

/** Mean accuracy of each case over folds that rows are dealt to by a fixed permutation. */
export async function benchFeatures({ data: folder, rounds: folds }: FeaturesBenchOptions) {
  const data = await labelledData({ train: join(folder, 'sst2/train.tsv') }, { tokenizer: 'words' });
  const found = [];
  for (const chosen of cases) {
    const accuracies: number[] = [];
    for (let fold = 0; fold < folds; fold++)
      accuracies.push(await accuracyOf(chosen, parted(data, fold, folds)));
    found.push({
      ...chosen,
      accuracy: accuracies.reduce((sum, value) => sum + value, 0) / folds,
      accuracies,
    });
    console.error(JSON.stringify(found.at(-1)));
  }
  return { machine: machine(), folds, cases: found.sort((a, b) => b.accuracy - a.accuracy) };
}

function parted(data: LabelledData, fold: number, folds: number): LabelledData {
  const { rows, labels } = data.parts.train!;
  const ids = [...idsOf(rows)];
  const order = new Permutation(rows.count, 1, 2);
  const part = (isWanted: (place: number) => boolean): LabelledRows => {
    const places = ids.map((_, row) => row).filter((row) => isWanted(order.at(row) % folds));
    return {
      rows: memoryRows(
        places.map((row) => Uint32Array.from(ids[row])),
        data.tokenizer.vocabSize,
      ),
      labels: Int32Array.from(places, (row) => labels[row]),
    };
  };
  return {
    ...data,
    parts: { train: part((place) => place !== fold), valid: part((place) => place === fold) },
  };
}

async function accuracyOf(chosen: Case, data: LabelledData): Promise<number> {
  const { vocabSize, specialTokens } = data.tokenizer;
  const { hiddenSizes, dropout, learningRate, weightDecay, maxSteps } = chosen;
  const specialIds = Object.values(specialTokens);
  const features = BagOfWords.learn(idsOf(data.parts.train!.rows), { ...chosen, vocabSize, specialIds });
  const numLabels = data.labelNames.length;
  await using trainer = new Trainer({
    model: new Mlp({ inputSize: features.numFeatures, hiddenSizes, dropout, numLabels, sparseInput: true }),
    objective: bagOfWordsClassification({ numLabels, features, lengths: [16, 32, 64, 128] }),
    data,
    optimizer: adamw({
      learningRate: cosine({ peak: learningRate, minimum: learningRate / 10, warmupSteps: 100 }),
      weightDecay,
      beta2: 0.95,
    }),
    batchSize: 64,
    maxSteps,
    device: 'cpu',
    threads: 1,
  });
  for await (const event of trainer.run()) if (event.event === 'done') return event.accuracy!;
  throw new Error('the run did not end');
}
