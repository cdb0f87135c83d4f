import type { Tensor } from '../graph/tensor.js';
import { concat, full } from '../ops/index.js';

/**
 * Slopes of ALiBi (Press et al. 2021, arXiv:2108.12409, section 3, and its published code for other numbers of heads): 2^(-8 i / n) for
 * the heads i = 1..n where n is a power of two; otherwise those of the next lower power, then every second one of its double.
 */
export function alibiSlopeValues(numAttentionHeads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(numAttentionHeads));
  const geometric = (count: number) =>
    Array.from({ length: count }, (_, head) => 2 ** ((-8 * (head + 1)) / count));
  const between = geometric(2 * power).filter((_, head) => head % 2 === 0);
  return [...geometric(power), ...between.slice(0, numAttentionHeads - power)];
}

/** float32 [numAttentionHeads], as a constant of the graph being traced. */
export const alibiSlopes = (numAttentionHeads: number): Tensor =>
  concat(
    alibiSlopeValues(numAttentionHeads).map((slope) => full([1], slope)),
    0,
  );
