import type { InstructionCost } from '../compile/index.js';
import type { Module } from '../nn/index.js';
import type { ObjectiveData } from '../objectives/objective.js';
import { encodeScalars } from '../ops/scalars.js';
import { Session, type SessionOptions, type SessionStats } from '../runtime/session.js';
import type { TrainingProgram } from '../train/programs.js';
import { TakenStep, type TakenStepOptions } from './takenStep.js';

export interface ProfileOptions<Model extends Module, Data extends ObjectiveData>
  extends SessionOptions,
    TakenStepOptions<Model, Data> {
  /** Which program of a run to take. */
  readonly program: TrainingProgram;
  /** Runs whose times are taken; as many as a tenth of them, and at least one, go before. */
  readonly runs: number;
}

/** An instruction of a program: what it does and its median time. */
export interface TimedInstruction extends InstructionCost {
  readonly seconds: number;
}

export interface Profile {
  readonly device: SessionStats;
  /** Median time of a run without the clock between its instructions. */
  readonly seconds: number;
  readonly flops: number;
  /** In the order of the program. */
  readonly instructions: readonly TimedInstruction[];
}

/** Times every instruction of a program of a training run. */
export async function profile<Model extends Module, Data extends ObjectiveData>(
  options: ProfileOptions<Model, Data>,
): Promise<Profile> {
  const { seed, runs } = options;
  const taken = new TakenStep(options, options.program);
  const session = Session.open({ device: options.device, threads: options.threads, tf32: options.tf32 });
  try {
    const loaded = await taken.load(session);
    // A learning rate of 0 leaves the weights as they are, so that every run does the same.
    const scalars = encodeScalars({ learningRate: 0, seed });
    const whole: number[] = [];
    const parts: Float64Array[] = [];
    const warmUps = Math.ceil(runs / 10);
    for (let run = -warmUps; run < runs; run++) {
      const started = performance.now();
      await loaded.run(scalars);
      const seconds = (performance.now() - started) / 1000;
      const each = await loaded.profile(scalars);
      if (run < 0) continue;
      whole.push(seconds);
      parts.push(each);
    }
    return {
      device: session.stats(),
      seconds: median(whole),
      flops: taken.program.flops,
      instructions: taken.program
        .costs()
        .map((cost, index) => ({ ...cost, seconds: median(parts.map((each) => each[index])) })),
    };
  } finally {
    await session.close();
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Instructions that do the same, taken together. */
export interface ProfileRow {
  readonly op: string;
  /** Empty where instructions of different shapes are taken together. */
  readonly operands: string;
  readonly calls: number;
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
}

/** Sums of a profile by op or, with `byOperands`, by op and operands; the largest first. */
export function profileRows(instructions: readonly TimedInstruction[], byOperands: boolean): ProfileRow[] {
  const rows = new Map<string, ProfileRow>();
  for (const { op, seconds, flops, bytes, ...instruction } of instructions) {
    const operands = byOperands ? instruction.operands : '';
    const key = `${op} ${operands}`;
    const sum = rows.get(key) ?? { op, operands, calls: 0, seconds: 0, flops: 0, bytes: 0 };
    rows.set(key, {
      ...sum,
      calls: sum.calls + 1,
      seconds: sum.seconds + seconds,
      flops: sum.flops + flops,
      bytes: sum.bytes + bytes,
    });
  }
  return [...rows.values()].sort((a, b) => b.seconds - a.seconds);
}

/** A run in Chrome's trace format (chrome://tracing, Perfetto): instructions one after another, in microseconds. */
export function chromeTrace({ instructions }: Profile): object {
  let at = 0;
  const traceEvents = instructions.map(({ op, operands, seconds, flops, bytes }) => {
    const event = {
      name: op,
      ph: 'X',
      pid: 1,
      tid: 1,
      ts: at * 1e6,
      dur: seconds * 1e6,
      args: {
        operands,
        gigaflopsPerSecond: flops / seconds / 1e9,
        gigabytesPerSecond: bytes / seconds / 1e9,
      },
    };
    at += seconds;
    return event;
  });
  return { traceEvents, displayTimeUnit: 'ms' };
}
