import { DataError } from '../errors.js';

/**
 * Ids as rows of `size` zeros with a one at place id, as the op of this name gives them: features for a dense network. Throws
 * DataError for an id outside 0 ... size - 1.
 */
export function oneHotRows(ids: ArrayLike<number>, size: number): Float32Array[] {
  return Array.from(ids, (id, place) => {
    if (!Number.isInteger(id) || id < 0 || id >= size) {
      throw new DataError(`id ${id} at place ${place} has no one-hot vector: ids are 0 ... ${size - 1}`, {
        id,
        size,
      });
    }
    const row = new Float32Array(size);
    row[id] = 1;
    return row;
  });
}
