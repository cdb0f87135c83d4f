import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from '#src/errors.js';
import { philox4x32, seedKey } from '#src/random/philox.js';

const hex = (words: readonly number[]): string =>
  words.map((word) => word.toString(16).padStart(8, '0')).join(' ');

test('agrees with the known answers of Random123', (t) => {
  const ones = 0xffffffff;
  t.is(hex(philox4x32([0, 0, 0, 0], [0, 0])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  t.is(hex(philox4x32([ones, ones, ones, ones], [ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd');
  t.is(
    hex(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])),
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  );
});

/** The definition in exact arithmetic. */
function philoxExact(counter: readonly number[], key: readonly number[]): number[] {
  const mask = 0xffffffffn;
  let [c0, c1, c2, c3] = counter.map(BigInt);
  let [k0, k1] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const product0 = 0xd2511f53n * c0;
    const product1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [
      (product1 >> 32n) ^ c1 ^ k0,
      product1 & mask,
      (product0 >> 32n) ^ c3 ^ k1,
      product0 & mask,
    ];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [c0, c1, c2, c3].map(Number);
}

const word = fc.integer({ min: 0, max: 0xffffffff });

test('agrees with exact arithmetic on any counter and key', (t) => {
  fc.assert(
    fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
      t.deepEqual(philox4x32(counter, key), philoxExact(counter, key) as [number, number, number, number]);
    }),
  );
});

test('a seed is split into its low 32 and high 21 bits', (t) => {
  t.deepEqual(seedKey(0), [0, 0]);
  t.deepEqual(seedKey(2 ** 32 + 5), [5, 1]);
  t.deepEqual(seedKey(Number.MAX_SAFE_INTEGER), [0xffffffff, 0x1fffff]);
});

for (const seed of [-1, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`refuses the seed ${seed}`, (t) => {
    t.throws(() => seedKey(seed), { instanceOf: ConfigError, message: /seed must be an integer from 0 to/ });
  });
}
