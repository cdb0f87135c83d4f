// A process of its own that makes three training steps and prints what it took of memory at most: {"peakBytes"}.
//   node dist-test/bench/peakStep.js '{"name": "d512", "precision": "float32", "threads": 2}'
import { readFileSync } from 'node:fs';
import { Stepper } from '#src/train/stepper.js';
import { caseOptions, timeSteps, trainingCases } from './trainingCase.js';

/** The largest resident size of this process since it began; what its parent had before does not count. */
function peakBytes(): number {
  if (process.platform !== 'linux') return 1024 * process.resourceUsage().maxRSS;
  return 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
}

const { name, ...options } = JSON.parse(process.argv[2]);
const stepper = new Stepper(caseOptions(trainingCases.find((shape) => shape.name === name)!, options));
await stepper.load();
await timeSteps(stepper, 0, 3);
await stepper.session.close();
console.log(JSON.stringify({ peakBytes: peakBytes() }));
