import type { TokenRange } from './split.js';
import type { TokenSource } from './tokenSource.js';

/** Where the documents of a token source begin, for rows that hold several of them or parts. */
export class DocumentPlaces {
  readonly #starts: Float64Array;

  constructor(source: TokenSource) {
    this.#starts = source.documents();
  }

  /** Positions at which a document begins that lie inside a range, its first token left out. */
  within({ start, end }: TokenRange): Float64Array {
    const inside = this.#starts.subarray(this.#after(start), this.#after(end - 1));
    return inside.filter((position, index) => index === 0 || position > inside[index - 1]);
  }

  /**
   * Describes a row of tokens from `position` on: for each token where its document begins in the row (0 where that is before the
   * row), and its place in the document, counted from there.
   */
  describe(position: number, documentStarts: Int32Array, positionIds: Int32Array): void {
    let next = this.#after(position);
    let start = 0;
    for (let index = 0; index < documentStarts.length; index++) {
      for (; this.#starts[next] <= position + index; next++) start = index;
      documentStarts[index] = start;
      positionIds[index] = index - start;
    }
  }

  /** How many documents begin at `position` or before it. */
  #after(position: number): number {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle] <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
