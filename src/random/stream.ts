import { type PhiloxKey, philoxInto, seedKey, splitWords } from './philox.js';

/**
 * A sequence of random numbers: block i is Philox of the counter (i, stream) under the key `seed`. Streams of one seed never
 * meet, so that each weight matrix can have its own and keep its values when others are added.
 *
 * @param seed an integer from 0 to 2^53 - 1
 * @param stream an integer from 0 to 2^53 - 1
 */
export class RandomStream {
  readonly #key: PhiloxKey;
  readonly #stream: PhiloxKey;
  readonly #words = new Uint32Array(4);
  #used = 4;
  #blockLow = 0;
  #blockHigh = 0;

  constructor(seed: number, stream = 0) {
    this.#key = seedKey(seed);
    this.#stream = splitWords(stream, 'stream');
  }

  /** The next unsigned 32-bit word. */
  word(): number {
    if (this.#used === 4) this.#refill();
    return this.#words[this.#used++];
  }

  /** The next float in [0, 1): a multiple of 2^-24, hence exact in float32. */
  uniform(): number {
    return (this.word() >>> 8) * 2 ** -24;
  }

  /** Fills with floats from [low, high). */
  fillUniform(target: Float32Array, low = 0, high = 1): void {
    const width = high - low;
    for (let i = 0; i < target.length; i++) target[i] = low + width * this.uniform();
  }

  /** Fills with normal deviates by the method of Box and Muller (1958), computed in float64 and rounded once. */
  fillNormal(target: Float32Array, mean = 0, standardDeviation = 1): void {
    for (let i = 0; i < target.length; i += 2) {
      const radius = standardDeviation * Math.sqrt(-2 * Math.log((this.word() + 1) * 2 ** -32)); // of a value in (0, 1]
      const angle = 2 * Math.PI * 2 ** -32 * this.word();
      target[i] = mean + radius * Math.cos(angle);
      if (i + 1 < target.length) target[i + 1] = mean + radius * Math.sin(angle);
    }
  }

  #refill(): void {
    const stream = this.#stream;
    const key = this.#key; // spread, both would be copied for every block
    philoxInto(this.#words, this.#blockLow, this.#blockHigh, stream[0], stream[1], key[0], key[1]);
    this.#used = 0;
    this.#blockLow = (this.#blockLow + 1) | 0;
    if (this.#blockLow === 0) this.#blockHigh = (this.#blockHigh + 1) | 0;
  }
}
