// A training step (forward, backward, clipping, AdamW) beside those of peers, in turns within one run.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Precision } from '#src/shape/dtype.js';
import { Stepper } from '#src/train/stepper.js';
import { type BenchOptions, chosenNames, chosenOf } from './commandLine.js';
import { machine, median, type Spread, spreadOf } from './machine.js';
import { type RunningPeer, stepPeers } from './peers/index.js';
import { checkSameLoss, writeStart } from './peers/sameStart.js';
import { type Absent, untilThreadsSleep } from './peers/served.js';
import { caseOptions, type TrainingCase, timeSteps, trainingCases } from './trainingCase.js';

/** A peer's times in seconds; a ratio above 1 says how many times as long as ours. */
export type PeerResult = (Spread & { version: string; ratio: number }) | Absent;

export interface StepResult {
  readonly name: string;
  readonly precision: Precision;
  readonly threads: number;
  /** Of the first batch, before the first update. */
  readonly loss: number;
  /** Seconds. */
  readonly ours: Spread;
  readonly peers: Readonly<Record<string, PeerResult>>;
}

const precisions: readonly Precision[] = ['float32', 'bf16'];

/** Turns; in each, all sides but slow ones make enough steps for about a second. */
const defaultRounds = 5;

interface Side {
  readonly peer: RunningPeer;
  readonly mostSteps: number | undefined;
  readonly seconds: number[];
}

async function takeTurn({ peer, mostSteps, seconds }: Side, count: number): Promise<void> {
  const steps = mostSteps === undefined ? count : Math.min(1, mostSteps - seconds.length);
  if (steps > 0) seconds.push(...(await peer.time(steps)));
}

/** Measures one case with the peers of these names. */
export async function measureStep(
  shape: TrainingCase,
  precision: Precision,
  names: readonly string[],
  { threads, rounds = defaultRounds }: Pick<BenchOptions, 'threads' | 'rounds'>,
): Promise<StepResult> {
  const folder = await mkdtemp(join(tmpdir(), 'heddle-bench-'));
  const sides = new Map<string, Side | Absent>();
  const options = caseOptions(shape, { threads, precision });
  const stepper = new Stepper(options);
  const running = () => [...sides].filter((entry): entry is [string, Side] => 'peer' in entry[1]);
  try {
    await stepper.load();
    const weights = join(folder, 'start.safetensors');
    await writeStart(weights, stepper, options);
    const { loss } = await stepper.submit(0);
    for (const name of names) {
      const { refuses, start, mostSteps } = stepPeers[name];
      const reason = refuses(shape, precision);
      const peer = reason ? { absent: reason } : await start({ shape, precision, threads, weights });
      sides.set(name, 'absent' in peer ? peer : { peer, mostSteps, seconds: [] });
    }
    for (const [name, { peer }] of running()) checkSameLoss(name, precision, loss, peer.loss);

    const trial = (await timeSteps(stepper, 1, 3)).at(-1)!;
    const count = Math.max(2, Math.min(50, Math.ceil(1 / trial)));
    const ours: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await untilThreadsSleep();
      ours.push(...(await timeSteps(stepper, 4 + round * count, count)));
      for (const [, side] of running()) await takeTurn(side, Math.max(2, count >> 1));
    }
    const peers = [...sides].map(([name, side]): [string, PeerResult] => {
      if ('absent' in side) return [name, side];
      const ratio = median(side.seconds) / median(ours);
      return [name, { version: side.peer.version, ...spreadOf(side.seconds), ratio }];
    });
    return {
      name: shape.name,
      precision,
      threads,
      loss,
      ours: spreadOf(ours),
      peers: Object.fromEntries(peers),
    };
  } finally {
    for (const [, { peer }] of running()) peer.close();
    await stepper.session.close();
    await rm(folder, { recursive: true });
  }
}

/** All chosen cases in all chosen precisions; without a choice those of the table in docs/performance.md. */
export async function benchStep(options: BenchOptions) {
  const shapes = chosenOf('cases', options.cases, trainingCases, ['d128', 'd384', 'd512']);
  const names = chosenNames('peers', options.peers, Object.keys(stepPeers));
  const chosen = chosenNames('precisions', options.precisions, precisions);
  const cases: StepResult[] = [];
  for (const precision of chosen)
    for (const shape of shapes) cases.push(await measureStep(shape, precision, names, options));
  return { machine: machine(), cases };
}
