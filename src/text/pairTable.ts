/** From pairs of ids of at least 0 to numbers of at least 0: a hash table without an object for each pair. */
export class PairTable {
  #size = 0;
  #mask: number;
  /** Left, right and value of a slot side by side; left is -1 where the slot is free. */
  #slots: Int32Array;

  /** @param expected how many pairs there will be; more are taken too */
  constructor(expected = 1 << 10) {
    const slots = 2 ** Math.ceil(Math.log2(2 * Math.max(expected, 8)));
    this.#mask = slots - 1;
    this.#slots = new Int32Array(3 * slots).fill(-1);
  }

  /** The pair's number, -1 where it has none. */
  get(left: number, right: number): number {
    const slots = this.#slots;
    for (let at = this.#hash(left, right); ; at = (at + 1) & this.#mask) {
      const place = 3 * at;
      if (slots[place] === left && slots[place + 1] === right) return slots[place + 2];
      if (slots[place] < 0) return -1;
    }
  }

  set(left: number, right: number, value: number): void {
    const slots = this.#slots;
    for (let at = this.#hash(left, right); ; at = (at + 1) & this.#mask) {
      const place = 3 * at;
      const free = slots[place] < 0;
      if (!free && (slots[place] !== left || slots[place + 1] !== right)) continue;
      slots[place] = left;
      slots[place + 1] = right;
      slots[place + 2] = value;
      if (free && 2 * ++this.#size > this.#mask) this.#double();
      return;
    }
  }

  #hash(left: number, right: number): number {
    const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    return (mixed ^ (mixed >>> 15)) & this.#mask;
  }

  #double(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length).fill(-1);
    this.#mask = 2 * this.#mask + 1;
    this.#size = 0;
    for (let place = 0; place < old.length; place += 3) {
      if (old[place] >= 0) this.set(old[place], old[place + 1], old[place + 2]);
    }
  }
}
