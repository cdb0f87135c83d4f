// A training step (forward, backward, clipping, AdamW) against PyTorch, in turns within one run.
import { availableParallelism } from 'node:os';
import { machine, median } from './machine.js';
import { TorchPeer } from './peers/torch.js';
import { stepperOf, type TrainingCase, timeSteps, trainingCases } from './trainingCase.js';

export interface StepOptions {
  readonly cases: readonly string[];
  readonly peers: readonly string[];
  readonly threads: number;
  /** Turns; in each, both sides make enough steps for about a second. */
  readonly rounds: number;
}

export const defaultStepOptions: StepOptions = {
  cases: ['d128', 'd384', 'd512'],
  peers: ['torch'],
  threads: availableParallelism(),
  rounds: 5,
};

async function measure(shape: TrainingCase, { peers, threads, rounds }: StepOptions) {
  const stepper = stepperOf(shape, threads);
  await stepper.load();
  const [trial] = (await timeSteps(stepper, 0, 3)).slice(-1);
  const count = Math.max(2, Math.min(50, Math.ceil(1 / trial)));
  const torch = peers.includes('torch') ? await TorchPeer.start(shape, threads) : { absent: 'not asked for' };
  const ours: number[] = [];
  const theirs: number[] = [];
  let step = 3;
  for (let round = 0; round < rounds; round++) {
    ours.push(...(await timeSteps(stepper, step, count)));
    step += count;
    if (torch instanceof TorchPeer) theirs.push(...(await torch.time(Math.max(2, count >> 1))));
  }
  await stepper.session.close();
  const peer =
    torch instanceof TorchPeer
      ? { version: torch.version, median: median(theirs), ratio: median(theirs) / median(ours) }
      : { absent: torch.absent };
  if (torch instanceof TorchPeer) torch.close();
  return {
    name: shape.name,
    precision: 'float32',
    threads,
    ours: { median: median(ours) },
    peers: { torch: peer },
  };
}

/** Medians in seconds; a ratio above 1 says how many times longer the peer takes. */
export async function benchStep(options: StepOptions) {
  const cases = [];
  for (const shape of trainingCases) {
    if (options.cases.includes(shape.name)) cases.push(await measure(shape, options));
  }
  return { machine: machine(), cases };
}
