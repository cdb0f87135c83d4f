import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';

/**
 * Draws a token from softmax(logits / temperature) after these cuts, each of what the one before left:
 *   topK        the topK most probable tokens (0: all)
 *   topP        the smallest set of the most probable whose share reaches topP (Holtzman et al. 2019, arXiv:1904.09751; 1: all)
 *   minP        tokens at least minP times as probable as the most probable (Nguyen et al. 2024, arXiv:2407.01082; 0: all)
 *   typicalP    the smallest set whose share reaches typicalP among those whose surprisal is nearest to the entropy of what
 *               is left (Meister et al. 2022, arXiv:2202.00666; 1: all)
 * All of them, with seed and step, come from the run's scalars: temperature 0 takes the most probable (the lowest id among
 * equals), infinity draws uniformly. `log_probability` is that of softmax(logits), before temperature and any cut.
 */
const sampleOp = defineOp('sample', {
  inputs: { logits: 'B V' },
  outputs: { token: 'B i32', log_probability: 'B' },
  // Of each token its weight, its id in an order, and how typical it is.
  workspace: ({ inputs: [logits] }) => 12 * logits!.shape[0] * logits!.shape[1],
});

export function sample(logits: Operand): { token: Tensor; logProbability: Tensor } {
  const [token, logProbability] = sampleOp([logits]);
  return { token, logProbability };
}

/**
 * Logits that discourage what was said before. A token among the first lengths[b] of history[b] has its logit divided by
 * the scalar repetitionPenalty where it is positive and multiplied where not (Keskar et al. 2019, arXiv:1909.05858, section
 * 4.1; 1: as it is). With the scalar noRepeatNgramSize n > 0, a token that would repeat n tokens of the history in their
 * order becomes impossible. Ids outside 0..V-1 are passed over.
 */
const penalizeRepetitionOp = defineOp('penalize_repetition', {
  inputs: { logits: 'B V', history: 'B S i32', lengths: 'B i32' },
  outputs: { y: 'B V' },
});

export const penalizeRepetition = (logits: Operand, history: Operand, lengths: Operand): Tensor =>
  penalizeRepetitionOp([logits, history, lengths])[0];
