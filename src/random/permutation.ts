import { ConfigError } from '../errors.js';
import { philoxInto } from './philox.js';

const largestDomain = 2 ** 48;
/** Four rounds make a strong pseudorandom permutation (Luby and Rackoff 1988) of large domains; small ones need more. */
const feistelRounds = 8;

/**
 * A keyed permutation of 0 … n-1 that takes no memory: a balanced Feistel network over the next even power of two, walked
 * along its cycle until it comes back below n (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). The domain
 * is smaller than 4n, so fewer than four steps are needed on average.
 *
 * @param n the size of the domain, an integer from 1 to 2^48
 * @param key0 a 32-bit word
 * @param key1 a 32-bit word
 */
export class Permutation {
  readonly n: number;
  readonly #halfBits: number;
  readonly #roundKeys = new Uint32Array(feistelRounds);

  constructor(n: number, key0: number, key1 = 0) {
    if (!Number.isInteger(n) || n < 1 || n > largestDomain) {
      throw new ConfigError(`a permutation takes an integer size from 1 to 2^48, but got ${n}`, { n });
    }
    this.n = n;
    let halfBits = 1;
    while (4 ** halfBits < n) halfBits++;
    this.#halfBits = halfBits;
    const words = new Uint32Array(4);
    for (let round = 0; round < feistelRounds; round += 4) {
      philoxInto(words, round, 0, 0, 0, key0, key1);
      this.#roundKeys.set(words, round);
    }
  }

  /** The image of `index`, an integer from 0 to n-1. */
  at(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.n) {
      throw new RangeError(`permutation index ${index} is not in 0 … ${this.n - 1}`);
    }
    let value = index;
    do value = this.#encrypt(value);
    while (value >= this.n);
    return value;
  }

  #encrypt(value: number): number {
    const half = 2 ** this.#halfBits;
    const mask = half - 1; // at most 24 bits
    let left = Math.floor(value / half);
    let right = value % half;
    for (let round = 0; round < feistelRounds; round++) {
      const next = (left ^ mix(right ^ this.#roundKeys[round])) & mask;
      left = right;
      right = next;
    }
    return left * half + right;
  }
}

/** The finaliser of MurmurHash3: every bit of the input sways every bit of the result. */
function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
