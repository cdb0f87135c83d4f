import test from 'ava';
import { Throughput } from '#src/train/throughput.js';

test('a rate is over ten steps, so that results which come at once do not make it absurd', (t) => {
  const throughput = new Throughput();
  t.is(throughput.recent, 0);
  t.is(throughput.overall, 0);
  for (let step = 0; step < 30; step++) throughput.add(100, 0.5);
  throughput.add(100, 1);
  throughput.add(100, 1e-9); // waited with the one before
  t.true(Math.abs(throughput.recent - 1000 / 5) < 1e-3);
  t.true(Math.abs(throughput.overall - 3200 / 16) < 1e-3);
});
