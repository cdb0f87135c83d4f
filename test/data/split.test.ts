import test from 'ava';
import fc from 'fast-check';
import { defaultSplit, parseSplit, splitTokens } from '#src/data/split.js';
import { ConfigError } from '#src/errors.js';

test('reads fractions', (t) => {
  t.deepEqual(parseSplit('0.9,0.1'), [0.9, 0.1, 0]);
  t.deepEqual(parseSplit(' 0.8, 0.1 ,0.1'), [0.8, 0.1, 0.1]);
  t.deepEqual(parseSplit([1, 0]), [1, 0, 0]);
});

for (const value of [
  '',
  '1',
  '0.9',
  '0.9,0.2',
  '0.5,0.4',
  '0.9,,0.1',
  'a,b',
  '0,1',
  '1.5,-0.5',
  '0.7,0.1,0.1,0.1',
  'NaN,1',
]) {
  test(`refuses '${value}'`, (t) => {
    t.throws(() => parseSplit(value), {
      instanceOf: ConfigError,
      message: /split must be two or three fractions.*but it is/,
    });
  });
}

test('cuts where nanoGPT does', (t) => {
  const { train, valid, test: rest } = splitTokens(1_115_394, parseSplit('0.9,0.1'));
  t.deepEqual(train, { start: 0, end: 1_003_854 });
  t.deepEqual(valid, { start: 1_003_854, end: 1_115_394 });
  t.deepEqual(rest, { start: 1_115_394, end: 1_115_394 });
  t.deepEqual(splitTokens(100_000_000, defaultSplit).test, { start: 95_000_000, end: 100_000_000 });
});

test('parts follow each other and cover everything, each as long as its fraction', (t) => {
  const fractions = fc
    .tuple(fc.integer({ min: 1, max: 100 }), fc.nat(100), fc.nat(100))
    .map((parts) => parts.map((part) => part / (parts[0] + parts[1] + parts[2])));
  fc.assert(
    fc.property(fc.nat(1_000_000), fractions, (count, parts) => {
      const split = parseSplit(parts);
      const { train, valid, test: rest } = splitTokens(count, split);
      t.is(train.start, 0);
      t.is(train.end, valid.start);
      t.is(valid.end, rest.start);
      t.is(rest.end, count);
      [train, valid, rest].forEach((part, i) => {
        t.true(Math.abs(part.end - part.start - split[i] * count) < 1.01);
      });
    }),
  );
});

test('rounding does not move a border', (t) => {
  t.is(splitTokens(10, parseSplit('0.7,0.1,0.2')).valid.end, 8);
  t.is(splitTokens(3, parseSplit([1 / 3, 1 / 3, 1 / 3])).valid.end, 2);
});
