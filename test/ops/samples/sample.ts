import { sample } from '#src/ops/index.js';
import { exactly, normal, type Sample } from '../sample.js';

const variants: readonly (readonly [what: string, scalars: Sample['scalars']])[] = [
  ['greedy', { temperature: 0 }],
  ['as the model says', { seed: 3, step: 9 }],
  ['cooler', { temperature: 0.5, seed: 4, step: 2, rowOffset: 100 }],
  ['hotter, the ten most probable', { temperature: 2, topK: 10, seed: 5 }],
  ['nucleus', { topP: 0.7, seed: 2 ** 35, step: 1 }],
  ['nucleus of the best', { topK: 20, topP: 0.5, temperature: 1.5, seed: 6, microStep: 1 }],
  ['only the most probable', { topP: 1e-6, seed: 7 }],
  ['uniform', { temperature: Number.POSITIVE_INFINITY, seed: 8 }],
  ['uniform among five', { temperature: Number.POSITIVE_INFINITY, topK: 5, seed: 9 }],
];

export const sampleSamples: readonly Sample[] = [
  ...variants.map(
    ([what, scalars]): Sample => ({
      name: `sample: ${what}`,
      inputs: { logits: normal([16, 61], 2) },
      build: ({ logits }) => ({ ...sample(logits) }),
      scalars,
      gradient: 'none',
    }),
  ),
  {
    name: 'sample: the lowest of equals',
    inputs: { logits: exactly([2, 4], [1, 3, 3, 0, 2, 2, 2, 2]) },
    build: ({ logits }) => ({ ...sample(logits) }),
    scalars: { temperature: 0 },
    gradient: 'none',
  },
  {
    name: 'sample: one token',
    inputs: { logits: normal([3, 1]) },
    build: ({ logits }) => ({ ...sample(logits) }),
    gradient: 'none',
  },
];
