import { beamCandidates } from '#src/ops/index.js';
import { exactly, normal, type Sample } from '../sample.js';

const dead = Number.NEGATIVE_INFINITY;

export const beamSamples: readonly Sample[] = [
  {
    name: 'beam_candidates: four beams of three groups',
    inputs: { logits: normal([4, 3, 61], 2), scores: normal([4, 3]) },
    build: ({ logits, scores }) => ({ ...beamCandidates(logits, scores, 8) }),
    gradient: 'none',
  },
  {
    name: 'beam_candidates: one beam at the start',
    inputs: {
      logits: normal([3, 2, 17]),
      scores: exactly([3, 2], [0, -1.5, dead, dead, dead, dead]),
    },
    build: ({ logits, scores }) => ({ ...beamCandidates(logits, scores, 6) }),
    gradient: 'none',
  },
  {
    name: 'beam_candidates: equals in order, and more places than candidates',
    inputs: {
      logits: exactly([2, 1, 3], [1, 1, 1, 1, 1, 1]),
      scores: exactly([2, 1], [-1, -1]),
    },
    build: ({ logits, scores }) => ({ ...beamCandidates(logits, scores, 5) }),
    gradient: 'none',
  },
  {
    name: 'beam_candidates: only the tokens are read',
    inputs: { logits: normal([1, 1, 300], 3), scores: exactly([1, 1], [0]) },
    build: ({ logits, scores }) => ({ token: beamCandidates(logits, scores, 3).token }),
    gradient: 'none',
  },
];
