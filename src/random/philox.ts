import { ConfigError } from '../errors.js';

/**
 * Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3" (SC 2011). Four 32-bit words of output are a pure function of a counter (four words) and a key (two words), so
 * any element of any random tensor can be had without drawing those before it, here and in the native kernels alike.
 */
const multiplier0 = 0xd2511f53;
const multiplier1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;
const rounds = 10;

export type PhiloxKey = readonly [number, number];
export type PhiloxCounter = readonly [number, number, number, number];

/** The upper 32 bits of the 64-bit product of two unsigned words, from four 16-bit products; the result is signed. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0; // below 2^32: no carry is lost
  const cross = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (cross >>> 16)) | 0;
}

/** Writes the four words of one block to `target[0..3]`; nothing is allocated. Words may be signed or unsigned. */
export function philoxInto(
  target: Uint32Array,
  counter0: number,
  counter1: number,
  counter2: number,
  counter3: number,
  key0: number,
  key1: number,
): void {
  let c0 = counter0 | 0;
  let c1 = counter1 | 0;
  let c2 = counter2 | 0;
  let c3 = counter3 | 0;
  let k0 = key0 | 0;
  let k1 = key1 | 0;
  for (let round = 0; round < rounds; round++) {
    const high0 = multiplyHigh(multiplier0, c0);
    const high1 = multiplyHigh(multiplier1, c2);
    const low0 = Math.imul(multiplier0, c0);
    c0 = high1 ^ c1 ^ k0;
    c1 = Math.imul(multiplier1, c2);
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + weyl0) | 0;
    k1 = (k1 + weyl1) | 0;
  }
  target[0] = c0;
  target[1] = c1;
  target[2] = c2;
  target[3] = c3;
}

/** One block: four unsigned 32-bit words from a counter and a key. */
export function philox4x32(counter: PhiloxCounter, key: PhiloxKey): [number, number, number, number] {
  const words = new Uint32Array(4);
  philoxInto(words, ...counter, ...key);
  return [words[0], words[1], words[2], words[3]];
}

/** The low 32 and the high 21 bits of an integer from 0 to 2^53 - 1. */
export function splitWords(value: number, what: string): PhiloxKey {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new ConfigError(
      `${what} must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}, but it is ${value}`,
      {
        [what]: value,
      },
    );
  }
  return [value >>> 0, Math.floor(value / 2 ** 32)];
}

/** The Philox key of a seed (an integer from 0 to 2^53 - 1; anything else is a ConfigError). */
export const seedKey = (seed: number): PhiloxKey => splitWords(seed, 'seed');
