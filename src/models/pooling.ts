import type { Tensor } from '../graph/tensor.js';
import { attention, full, reshape, slice } from '../ops/index.js';

export const poolings = ['mean', 'first', 'last'] as const;
export type Pooling = (typeof poolings)[number];

/** Kernels of attention take heads up to this width (src/ops/attention.ts). */
const widestHead = 768;

/**
 * One vector for each row of [B, T, C]: the mean of its first lengths[b] tokens (default T), their first or their last. Mean and
 * last are an attention whose scores are all equal, over all keys or over the last one alone: its kernels know lengths already.
 */
export function pool(x: Tensor, pooling: Pooling, lengths?: Tensor): Tensor {
  const [rows, length, size] = x.shape;
  if (pooling === 'first') return reshape(slice(x, 1, 0, 1), [rows, size]);
  const headDim = widestDivisor(size);
  const keys = reshape(x, [rows, length, size / headDim, headDim]);
  const query = full([rows, 1, size / headDim, headDim], 0);
  const window = pooling === 'last' ? 1 : 0;
  return reshape(attention(query, keys, keys, { window, keyLengths: lengths }), [rows, size]);
}

function widestDivisor(size: number): number {
  let divisor = Math.min(size, widestHead);
  while (size % divisor !== 0) divisor--;
  return divisor;
}
