import { DataError } from '../errors.js';

/**
 * Lengths for a mask [rows, length] of ones and zeros, as transformers' tokenizers give it: every mask here is a range of keys
 * (docs/decisions/0004). Throws DataError where a row is not ones followed by zeros, as with padding on the left.
 */
export function lengthsOfAttentionMask(attentionMask: ArrayLike<number>, length: number): Int32Array {
  if (!Number.isSafeInteger(length) || length < 1 || attentionMask.length % length !== 0) {
    throw new DataError(`attentionMask has ${attentionMask.length} entries, which are no rows of ${length}`);
  }
  return Int32Array.from({ length: attentionMask.length / length }, (_, row) => {
    const mask = Array.from({ length }, (_, index) => attentionMask[row * length + index]);
    const zero = mask.indexOf(0);
    const ones = zero < 0 ? length : zero;
    const place = mask.findIndex((value, index) => value !== (index < ones ? 1 : 0));
    if (place >= 0) {
      throw new DataError(
        `attentionMask: row ${row} has ${mask[place]} at ${place}, but only ones followed by zeros are supported; pad on the right`,
        { row, place },
      );
    }
    return ones;
  });
}
