import { type TrainingCase, trainingCases } from '../trainingCase.js';

/** A case of the GPU benchmark. */
export interface GpuCase extends TrainingCase {
  /** Halves the batch until it fits. */
  readonly shrinks?: boolean;
}

const characters = { layers: 6, hiddenSize: 512, heads: 8, sequenceLength: 512, vocabSize: 65 };

/** From the quickest to the slowest, so that a short time gives the most of them. */
export const gpuCases: readonly GpuCase[] = [
  trainingCases.find(({ name }) => name === 'tiny')!,
  { name: 'characters-16k', ...characters, batchSize: 32 },
  { name: 'characters-4k', ...characters, batchSize: 8 },
  {
    name: 'gpt2-124m',
    layers: 12,
    hiddenSize: 768,
    heads: 12,
    sequenceLength: 1024,
    batchSize: 64,
    vocabSize: 50257,
    shrinks: true,
  },
];
export const caseNames = gpuCases.map(({ name }) => name);
