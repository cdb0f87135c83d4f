const initialSlots = 1 << 12;

/**
 * Numbers distinct words in the order in which they come. Words are slices of a text, compared where they lie: looking one
 * up makes no string. Code units are kept as they are, so that lone surrogates are words like any others.
 */
export class WordTable {
  #size = 0;
  /** Number of the word + 1 at the word's hash or behind it, 0 where a slot is free. At most half of them are in use. */
  #slots = new Int32Array(initialSlots);
  #hashes = new Int32Array(initialSlots / 2);
  /** Word i is `#units[#starts[i]] … #units[#starts[i + 1] - 1]`. */
  #starts = new Float64Array(initialSlots / 2 + 1);
  #units = new Uint16Array(8 * initialSlots);

  get size(): number {
    return this.#size;
  }

  /** The number of the word that is `text.slice(start, end)`, -1 where there is none. */
  find(text: string, start = 0, end = text.length): number {
    return this.#slots[this.#slotOf(text, start, end, hash(text, start, end))] - 1;
  }

  /** As `find`; a new word gets the next number. */
  add(text: string, start = 0, end = text.length): number {
    const code = hash(text, start, end);
    const slot = this.#slotOf(text, start, end, code);
    if (this.#slots[slot] !== 0) return this.#slots[slot] - 1;
    const word = this.#size++;
    const from = this.#starts[word];
    const needed = from + end - start;
    if (needed > this.#units.length) this.#units = grown(this.#units, needed);
    for (let i = start; i < end; i++) this.#units[from + i - start] = text.charCodeAt(i);
    this.#starts[word + 1] = needed;
    this.#hashes[word] = code;
    this.#slots[slot] = this.#size;
    if (this.#size === this.#hashes.length) this.#double();
    return word;
  }

  word(index: number): string {
    let word = '';
    for (let i = this.#starts[index]; i < this.#starts[index + 1]; i++) {
      word += String.fromCharCode(this.#units[i]);
    }
    return word;
  }

  /** Forgets all words and keeps the memory. */
  clear(): void {
    this.#size = 0;
    this.#slots.fill(0);
  }

  #slotOf(text: string, start: number, end: number, code: number): number {
    const mask = this.#slots.length - 1;
    let slot = code & mask;
    for (; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const word = this.#slots[slot] - 1;
      if (this.#hashes[word] === code && this.#equals(word, text, start, end)) break;
    }
    return slot;
  }

  #equals(word: number, text: string, start: number, end: number): boolean {
    const from = this.#starts[word];
    if (this.#starts[word + 1] - from !== end - start) return false;
    for (let i = start; i < end; i++) {
      if (this.#units[from + i - start] !== text.charCodeAt(i)) return false;
    }
    return true;
  }

  #double(): void {
    this.#slots = new Int32Array(2 * this.#slots.length);
    this.#hashes = grown(this.#hashes, this.#slots.length / 2);
    this.#starts = grown(this.#starts, this.#slots.length / 2 + 1);
    const mask = this.#slots.length - 1;
    for (let word = 0; word < this.#size; word++) {
      let slot = this.#hashes[word] & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = word + 1;
    }
  }
}

function hash(text: string, start: number, end: number): number {
  let code = end - start;
  for (let i = start; i < end; i++) code = Math.imul(code ^ text.charCodeAt(i), 0x01000193);
  code ^= code >>> 15;
  code = Math.imul(code, 0x2c1b3c6d);
  return code ^ (code >>> 13);
}

/** A copy with room for at least `length` elements, and for twice as many as before. */
export function grown<A extends Uint16Array | Int32Array | Uint32Array | Float64Array>(
  array: A,
  length: number,
): A {
  const larger = new (array.constructor as new (length: number) => A)(Math.max(length, 2 * array.length));
  larger.set(array as never);
  return larger;
}
