import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from '#src/errors.js';
import {
  constantRate,
  cosine,
  inverseSquareRoot,
  linear,
  schedules,
  warmupStableDecay,
} from '#src/train/learningRate.js';

const near = (a: number, b: number) => Math.abs(a - b) <= 1e-12 * Math.max(1, Math.abs(b));

test('warm-up rises in equal steps, then each schedule takes its course', (t) => {
  const options = { peak: 8, warmupSteps: 3, minimum: 2 };
  const rates = (rate: (step: number, maxSteps: number) => number) =>
    [0, 1, 2, 3, 53, 103].map((step) => rate(step, 103));
  t.deepEqual(rates(constantRate(options)), [2, 4, 6, 8, 8, 8]);
  t.deepEqual(rates(linear(options)), [2, 4, 6, 8, 5, 2]);
  t.true(rates(cosine(options)).every((rate, index) => near(rate, [2, 4, 6, 8, 5, 2][index])));
});

test('inverse square root: at four times the warm-up, half the peak (Vaswani et al. 2017, section 5.3)', (t) => {
  const rate = inverseSquareRoot({ peak: 1, warmupSteps: 400 });
  t.true(near(rate(399, 1e9), 400 / 401));
  t.true(near(rate(1599, 1e9), 0.5));
  t.is(inverseSquareRoot({ peak: 1, warmupSteps: 4, minimum: 0.25 })(1e6, 1e9), 0.25);
});

test('warmup-stable-decay stays at the peak until its last tenth', (t) => {
  const rate = warmupStableDecay({ peak: 4, minimum: 0, warmupSteps: 10 });
  t.is(rate(10, 1000), 4);
  t.is(rate(899, 1000), 4);
  t.true(near(rate(950, 1000), 2));
  t.is(rate(1000, 1000), 0);
  t.is(warmupStableDecay({ peak: 4, decayOver: 500 })(750, 1000), 2);
});

test('decaySteps ends the decay before the run does', (t) => {
  t.is(linear({ peak: 1, decaySteps: 50 })(50, 1000), 0);
  t.is(cosine({ peak: 1, minimum: 0.1, decaySteps: 50 })(400, 1000), 0.1);
});

test('every schedule stays between 0 and its peak', (t) => {
  const names = Object.keys(schedules) as (keyof typeof schedules)[];
  const given = fc.record({
    name: fc.constantFrom(...names),
    peak: fc.double({ min: 1e-6, max: 10, noNaN: true }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    warmupSteps: fc.nat(50),
    maxSteps: fc.integer({ min: 1, max: 300 }),
    step: fc.nat(400),
  });
  fc.assert(
    fc.property(given, ({ name, peak, share, warmupSteps, maxSteps, step }) => {
      const rate = schedules[name]({ peak, minimum: share * peak, warmupSteps })(step, maxSteps);
      t.true(rate >= 0 && rate <= peak * (1 + 1e-12));
    }),
  );
  t.pass();
});

test('rates and steps that make no sense are refused', (t) => {
  t.throws(() => cosine({ peak: -1 }), { instanceOf: ConfigError });
  t.throws(() => linear({ peak: 1, minimum: 2 }), { instanceOf: ConfigError });
  t.throws(() => constantRate({ peak: 1, warmupSteps: 1.5 }), { instanceOf: ConfigError });
});
