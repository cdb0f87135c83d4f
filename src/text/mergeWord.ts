import { PairHeap } from './pairHeap.js';
import { PairTable } from './pairTable.js';
import { grown } from './wordTable.js';

/** One merge: the ids of two tokens that meet, and of the token that they become. Earlier merges go first. */
export type Merge = readonly [left: number, right: number, merged: number];

/** Applies merges to one word after another, in time n log n: a word may be as long as a text without a space. */
export class WordMerger {
  readonly #ranks: PairTable;
  readonly #merged: Int32Array;
  readonly #heap = new PairHeap();
  /** Neighbours of the symbol that begins at a place, by place; the ends are -1 and the length. */
  #previous = new Int32Array(64);
  #next = new Int32Array(64);

  constructor(merges: readonly Merge[]) {
    this.#ranks = new PairTable(merges.length);
    this.#merged = new Int32Array(merges.length);
    merges.forEach(([left, right, merged], rank) => {
      this.#ranks.set(left, right, rank);
      this.#merged[rank] = merged;
    });
  }

  /** Merges `symbols[0 … length - 1]` in place and returns how many are left. */
  merge(symbols: Int32Array, length: number): number {
    if (length > this.#next.length) {
      this.#previous = grown(this.#previous, length);
      this.#next = grown(this.#next, length);
    }
    const [previous, next, heap] = [this.#previous, this.#next, this.#heap];
    for (let i = 0; i < length; i++) {
      previous[i] = i - 1;
      next[i] = i + 1;
      if (i > 0) this.#offer(symbols, i - 1, i);
    }
    let count = length;
    while (heap.size > 0) {
      const { first: rank, second: place } = heap;
      heap.pop();
      const after = next[place];
      // What was offered may have been merged with something else since.
      if (symbols[place] < 0 || after >= length) continue;
      if (this.#ranks.get(symbols[place], symbols[after]) !== rank) continue;
      symbols[place] = this.#merged[rank];
      symbols[after] = -1;
      next[place] = next[after];
      if (next[place] < length) {
        previous[next[place]] = place;
        this.#offer(symbols, place, next[place]);
      }
      if (previous[place] >= 0) this.#offer(symbols, previous[place], place);
      count--;
    }
    for (let from = 0, to = 0; to < count; from = next[from]) symbols[to++] = symbols[from];
    return count;
  }

  #offer(symbols: Int32Array, place: number, after: number): void {
    const rank = this.#ranks.get(symbols[place], symbols[after]);
    if (rank >= 0) this.#heap.push(rank, place);
  }
}
