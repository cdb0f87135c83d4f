// Many tiny steps: does memory stay flat, and does the event loop stay free?
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { machine } from './machine.js';
import { smallestCase, stepperOf, timeSteps } from './trainingCase.js';

/** Least-squares slope of y over x. */
function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (pick: (point: readonly [number, number]) => number) =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  const [x, y] = [mean(([a]) => a), mean(([, b]) => b)];
  const covariance = points.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  return covariance / points.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
}

export async function benchSoak({ steps, threads }: { steps: number; threads: number }) {
  const stepper = stepperOf(smallestCase, threads);
  await stepper.load();
  await timeSteps(stepper, 0, 2000); // caches, compiled code and heaps settle
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const points: [number, number][] = [];
  const part = Math.ceil(steps / 20);
  for (let done = 0; done < steps; done += part) {
    await timeSteps(stepper, 2000 + done, part);
    points.push([done + part, process.memoryUsage.rss()]);
  }
  const seconds = (performance.now() - started) / 1000;
  const made = points.at(-1)![0];
  delay.disable();
  await stepper.session.close();
  return {
    machine: machine(),
    steps: made,
    residentBytes: { first: points[0][1], last: points.at(-1)![1] },
    residentSlopeBytesPer10kSteps: Math.round(slope(points) * 10_000),
    // The timer of the monitor itself ticks every millisecond.
    eventLoopDelayMs: {
      p50: delay.percentile(50) / 1e6,
      p99: delay.percentile(99) / 1e6,
      max: delay.max / 1e6,
    },
    microsecondsPerStep: (1e6 * seconds) / made,
  };
}
