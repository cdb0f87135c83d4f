import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from '#src/errors.js';
import { Permutation } from '#src/random/permutation.js';

const word = fc.integer({ min: 0, max: 0xffffffff });

test('meets every number once', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), word, word, (n, key0, key1) => {
      const permutation = new Permutation(n, key0, key1);
      const images = new Set(Array.from({ length: n }, (_, i) => permutation.at(i)));
      t.is(images.size, n);
      t.true([...images].every((image) => Number.isInteger(image) && image >= 0 && image < n));
    }),
  );
});

test('stays within large domains and keeps numbers apart', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 2 ** 32, max: 2 ** 48 }), word, (n, key) => {
      const permutation = new Permutation(n, key);
      const images = Array.from({ length: 64 }, (_, i) => permutation.at(n - 1 - i));
      t.is(new Set(images).size, images.length);
      t.true(images.every((image) => Number.isSafeInteger(image) && image >= 0 && image < n));
    }),
  );
});

test('all orders of four things come up equally often', (t) => {
  const counts = new Map<string, number>();
  const draws = 24_000;
  for (let key = 0; key < draws; key++) {
    const permutation = new Permutation(4, key, 9);
    const order = [0, 1, 2, 3].map((i) => permutation.at(i)).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  t.is(counts.size, 24);
  const expected = draws / 24;
  const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  t.true(chiSquare < 49.7, `chi square ${chiSquare} with 23 degrees of freedom`); // p = 0.001
});

test('neighbours are sent far apart', (t) => {
  const n = 100_003;
  const permutation = new Permutation(n, 1, 2);
  let distance = 0;
  for (let i = 1; i < 10_000; i++) distance += Math.abs(permutation.at(i) - permutation.at(i - 1)) / n;
  t.true(Math.abs(distance / 9999 - 1 / 3) < 0.01); // the mean distance of two independent points
});

test('refuses other sizes and indices', (t) => {
  for (const n of [0, -1, 1.5, 2 ** 48 + 1, Number.NaN]) {
    t.throws(() => new Permutation(n, 0), { instanceOf: ConfigError });
  }
  const permutation = new Permutation(10, 0);
  for (const index of [-1, 10, 0.5]) t.throws(() => permutation.at(index), { instanceOf: RangeError });
});
