// What a step costs beside its kernels: (wall time - kernel time) / steps over tiny steps, of which two are always queued.
import type { BenchOptions } from './commandLine.js';
import { machine, spreadOf } from './machine.js';
import { smallestCase, stepperOf, timeSteps } from './trainingCase.js';

const warmUp = 2000;

export async function benchOverhead({ steps = 10_000, rounds = 5, threads }: BenchOptions) {
  const counts = threads > 1 ? [1, threads] : [1];
  const cases = [];
  for (const count of counts) cases.push(await measure(count, steps, rounds));
  return { machine: machine(), unit: 'microseconds a step', cases };
}

/** The spread is that of the rounds, among which the steps are shared out. */
async function measure(threads: number, steps: number, rounds: number) {
  const stepper = stepperOf(smallestCase, threads);
  try {
    await stepper.load();
    await timeSteps(stepper, 0, warmUp); // caches, compiled code and heaps settle
    const part = Math.ceil(steps / rounds);
    const kernels: number[] = [];
    const host: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const before = stepper.session.stats().kernelSeconds;
      const started = performance.now();
      await timeSteps(stepper, warmUp + round * part, part);
      const wall = (performance.now() - started) / 1000;
      const kernelSeconds = stepper.session.stats().kernelSeconds - before;
      kernels.push((1e6 * kernelSeconds) / part);
      host.push((1e6 * (wall - kernelSeconds)) / part);
    }
    const mean = host.reduce((sum, each) => sum + each, 0) / rounds;
    return {
      name: threads === 1 ? '1 thread' : `${threads} threads`,
      threads,
      steps: part * rounds,
      mean,
      host: spreadOf(host),
      kernels: spreadOf(kernels),
    };
  } finally {
    await stepper.session.close();
  }
}
