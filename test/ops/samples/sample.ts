import { penalizeRepetition, sample } from '#src/ops/index.js';
import { exactly, integers, normal, type Sample } from '../sample.js';

const variants: readonly (readonly [what: string, scalars: Sample['scalars']])[] = [
  ['greedy', { temperature: 0 }],
  ['as the model says', { seed: 3, step: 9 }],
  ['cooler', { temperature: 0.5, seed: 4, step: 2, rowOffset: 100 }],
  ['hotter, the ten most probable', { temperature: 2, topK: 10, seed: 5 }],
  ['nucleus', { topP: 0.7, seed: 2 ** 35, step: 1 }],
  ['nucleus of the best', { topK: 20, topP: 0.5, temperature: 1.5, seed: 6, microStep: 1 }],
  ['only the most probable', { topP: 1e-6, seed: 7 }],
  ['uniform', { temperature: Number.POSITIVE_INFINITY, seed: 8 }],
  ['at least a twentieth of the most probable', { minP: 0.05, seed: 10, step: 3 }],
  ['warm and probable', { temperature: 1.5, topK: 40, minP: 0.1, seed: 11 }],
  ['typical', { typicalP: 0.6, seed: 12, step: 4 }],
  ['only the most typical', { typicalP: 1e-6, seed: 13 }],
  ['typical of the nucleus', { temperature: 1.3, topP: 0.95, minP: 0.01, typicalP: 0.5, seed: 14 }],
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
  {
    name: 'penalize_repetition: what was said',
    inputs: {
      logits: normal([3, 29], 2),
      history: integers([3, 40], -1, 31),
      lengths: exactly([3], [40, 13, 0], 'i32'),
    },
    build: ({ logits, history, lengths }) => ({ y: penalizeRepetition(logits, history, lengths) }),
    scalars: { repetitionPenalty: 1.3 },
    gradient: 'none',
  },
  {
    name: 'penalize_repetition: no three tokens twice',
    inputs: {
      logits: normal([2, 5], 2),
      history: exactly([2, 9], [1, 2, 3, 1, 2, 4, 0, 1, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0], 'i32'),
      lengths: exactly([2], [9, 4], 'i32'),
    },
    build: ({ logits, history, lengths }) => ({ y: penalizeRepetition(logits, history, lengths) }),
    scalars: { noRepeatNgramSize: 3 },
    gradient: 'none',
  },
  {
    name: 'penalize_repetition: no token twice, in a long history',
    inputs: {
      logits: normal([1, 7], 2),
      history: integers([1, 300], 0, 5),
      lengths: exactly([1], [300], 'i32'),
    },
    build: ({ logits, history, lengths }) => ({ y: penalizeRepetition(logits, history, lengths) }),
    scalars: { repetitionPenalty: 2, noRepeatNgramSize: 1 },
    gradient: 'none',
  },
];
