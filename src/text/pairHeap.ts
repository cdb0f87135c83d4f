import { grown } from './wordTable.js';

/** A heap of pairs of numbers; the smallest first number comes first, and the smallest second one among equals. */
export class PairHeap {
  #size = 0;
  /** First and second numbers side by side. */
  #items = new Float64Array(128);

  get size(): number {
    return this.#size;
  }

  /** The numbers of the pair that comes first. */
  get first(): number {
    return this.#items[0];
  }

  get second(): number {
    return this.#items[1];
  }

  push(first: number, second: number): void {
    if (2 * this.#size === this.#items.length) this.#items = grown(this.#items, 0);
    const items = this.#items;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const a = items[2 * parent];
      if (a < first || (a === first && items[2 * parent + 1] <= second)) break;
      items[2 * at] = a;
      items[2 * at + 1] = items[2 * parent + 1];
      at = parent;
    }
    items[2 * at] = first;
    items[2 * at + 1] = second;
  }

  /** Removes the pair that comes first. */
  pop(): void {
    const items = this.#items;
    const size = --this.#size;
    const first = items[2 * size];
    const second = items[2 * size + 1];
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && this.#before(child + 1, child)) child++;
      if (first < items[2 * child] || (first === items[2 * child] && second <= items[2 * child + 1])) break;
      items[2 * at] = items[2 * child];
      items[2 * at + 1] = items[2 * child + 1];
      at = child;
    }
    items[2 * at] = first;
    items[2 * at + 1] = second;
  }

  #before(a: number, b: number): boolean {
    const items = this.#items;
    return (
      items[2 * a] < items[2 * b] || (items[2 * a] === items[2 * b] && items[2 * a + 1] < items[2 * b + 1])
    );
  }
}
