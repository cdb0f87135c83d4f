import test from 'ava';
import { EarlyStopping } from '#src/train/earlyStopping.js';

test('only a gain of more than minGain counts, and patience counts evaluations without one', (t) => {
  const stopping = new EarlyStopping({ patience: 2, minGain: 0.1 });
  t.true(stopping.observe(10, 3));
  t.false(stopping.observe(20, 2.95));
  t.false(stopping.shouldStop);
  t.true(stopping.observe(30, 2.8));
  t.false(stopping.observe(40, 2.75));
  t.false(stopping.observe(50, Number.NaN));
  t.true(stopping.shouldStop);
  t.deepEqual(stopping.state, { bestLoss: 2.8, bestStep: 30, evaluationsWithoutGain: 2 });
});

test('patience 0 never stops a run, and a state goes on where it was', (t) => {
  const endless = new EarlyStopping({ patience: 0, minGain: 0 });
  for (let step = 0; step < 50; step++) endless.observe(step, 1);
  t.false(endless.shouldStop);
  const resumed = new EarlyStopping(
    { patience: 3, minGain: 0 },
    { bestLoss: 1, bestStep: 5, evaluationsWithoutGain: 2 },
  );
  resumed.observe(6, 2);
  t.true(resumed.shouldStop);
});
