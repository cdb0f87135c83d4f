import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';

/**
 * Draws a token from softmax(logits / temperature), cut to the topK most probable and to the smallest set whose
 * probability reaches topP (Holtzman et al. 2019, arXiv:1904.09751). temperature, topK (0: all), topP (1: all), seed and
 * step come from the run's scalars: temperature 0 takes the most probable (the lowest id among equals), infinity draws
 * uniformly. `log_probability` is that of softmax(logits), before any cut.
 */
const sampleOp = defineOp('sample', {
  inputs: { logits: 'B V' },
  outputs: { token: 'B i32', log_probability: 'B' },
  workspace: ({ inputs: [logits] }) => 8 * logits!.shape[0] * logits!.shape[1],
});

export function sample(logits: Operand): { token: Tensor; logProbability: Tensor } {
  const [token, logProbability] = sampleOp([logits]);
  return { token, logProbability };
}
