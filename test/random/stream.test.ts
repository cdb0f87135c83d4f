import test from 'ava';
import { philox4x32, seedKey } from '#src/random/philox.js';
import { RandomStream } from '#src/random/stream.js';

test('is the blocks of Philox in order', (t) => {
  const stream = new RandomStream(7, 2 ** 32 + 3);
  const words = Array.from({ length: 8 }, () => stream.word());
  t.deepEqual(words, [...philox4x32([0, 0, 3, 1], seedKey(7)), ...philox4x32([1, 0, 3, 1], seedKey(7))]);
});

test('uniform values are multiples of 2^-24 in [0, 1)', (t) => {
  const stream = new RandomStream(1);
  const [first] = philox4x32([0, 0, 0, 0], seedKey(1));
  t.is(stream.uniform(), (first >>> 8) / 2 ** 24);
  for (let i = 0; i < 1000; i++) {
    const value = stream.uniform();
    t.true(value >= 0 && value < 1 && Number.isInteger(value * 2 ** 24));
  }
});

test('fills with the moments asked for', (t) => {
  const values = new Float32Array(1_000_001);
  new RandomStream(3, 1).fillNormal(values, 2, 0.5);
  const deviates = Array.from(values, (value) => (value - 2) / 0.5);
  const moment = (power: number): number => deviates.reduce((sum, z) => sum + z ** power, 0) / values.length;
  t.true(Math.abs(moment(1)) < 0.005, `mean ${moment(1)}`);
  t.true(Math.abs(moment(2) - 1) < 0.01, `variance ${moment(2)}`);
  t.true(Math.abs(moment(3)) < 0.02, `skewness ${moment(3)}`);
  t.true(Math.abs(moment(4) - 3) < 0.06, `kurtosis ${moment(4)}`);
  t.not(values.at(-1), 0);

  new RandomStream(3, 2).fillUniform(values, -2, 4);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  t.true(Math.abs(mean - 1) < 0.01, `mean ${mean}`);
  t.true(values.every((value) => value >= -2 && value < 4));
});

test('neighbouring normals do not go together', (t) => {
  const values = new Float32Array(200_000);
  new RandomStream(11).fillNormal(values);
  let product = 0;
  for (let i = 1; i < values.length; i++) product += values[i] * values[i - 1];
  t.true(Math.abs(product / values.length) < 0.01);
});

test('the same seed and stream give the same values, others give others', (t) => {
  const draw = (seed: number, stream: number): Float32Array => {
    const values = new Float32Array(16);
    new RandomStream(seed, stream).fillNormal(values);
    return values;
  };
  t.deepEqual(draw(5, 6), draw(5, 6));
  t.notDeepEqual(draw(5, 6), draw(5, 7));
  t.notDeepEqual(draw(5, 6), draw(4, 6));
});
