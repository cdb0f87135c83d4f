import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';

/**
 * The `candidates` best continuations of each group of beams. Beam k of group b has log-probability scores[k][b] (-infinity:
 * it takes no part) and is followed by v with scores[k][b] + log softmax(logits[k][b])[v]. Best first; of equals the lower
 * beam, then the lower token. Where there are fewer, the rest has score -infinity, token 0 and beam 0.
 */
const beamCandidatesOp = defineOp('beam_candidates', {
  inputs: { logits: 'K B V', scores: 'K B' },
  outputs: { score: 'B M', token: 'B M i32', beam: 'B M i32' },
  attributes: { candidates: 'i32' },
  bind: ({ candidates }) => ({ M: candidates as number }),
  // The best of every beam: a score and a token each.
  workspace: ({ inputs: [scores], attributes }) =>
    8 * scores!.shape[0] * scores!.shape[1] * (attributes.candidates as number),
});

export function beamCandidates(
  logits: Operand,
  scores: Operand,
  candidates: number,
): { score: Tensor; token: Tensor; beam: Tensor } {
  const [score, token, beam] = beamCandidatesOp([logits, scores], { candidates });
  return { score, token, beam };
}
