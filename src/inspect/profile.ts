import type { InstructionCost } from '../compile/index.js';
import { ParameterMirror } from '../generate/parameterMirror.js';
import type { DecoderConfig } from '../models/config.js';
import { Decoder } from '../models/decoder.js';
import { initialValues } from '../models/initialize.js';
import { parameterTable } from '../models/parameterTable.js';
import { causal } from '../objectives/causal.js';
import { encodeScalars } from '../ops/scalars.js';
import { RandomStream } from '../random/stream.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { Session, type SessionOptions, type SessionStats } from '../runtime/session.js';
import type { Precision } from '../shape/dtype.js';
import type { ClipSettings, OptimizerSettings } from '../train/optimizer.js';
import { ProgramBuilder, type TrainingProgram } from '../train/programs.js';

export interface ProfileOptions extends SessionOptions {
  readonly config: DecoderConfig;
  readonly batchSize: number;
  readonly sequenceLength: number;
  readonly optimizer: OptimizerSettings;
  readonly clip: ClipSettings;
  readonly labelSmoothing?: number;
  /** Default: float32. */
  readonly precision?: Precision;
  /** Recomputes activations block by block, as in training. Default: false. */
  readonly recompute?: boolean;
  readonly seed: number;
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

/** Times every instruction of a program of a training run, on random tokens. */
export async function profile(options: ProfileOptions): Promise<Profile> {
  const { config, batchSize, sequenceLength, optimizer, clip, labelSmoothing, precision, seed, runs } =
    options;
  const model = new Decoder(config);
  const table = parameterTable(model);
  const builder = new ProgramBuilder(table, {
    model,
    objective: causal({ sequenceLength, labelSmoothing }),
    vocabSize: config.vocabSize,
    rows: batchSize,
    optimizer,
    clip,
    precision,
    compile: { recompute: options.recompute },
  });
  const program = builder.build(options.program);
  const session = Session.open({ device: options.device, threads: options.threads });
  try {
    const [loaded] = await LoadedProgram.load(session, [program]);
    for (const { entry, values } of initialValues(model, table, seed)) {
      await session.write('parameters', entry.slot.offset, values);
    }
    await new ParameterMirror(session, table, precision ?? 'float32').refresh();
    await session.write('optimizerState', builder.slots.blocks.offset, table.blocks);
    const tokens = new RandomStream(seed);
    for (const { name } of program.inputs) {
      const input = loaded.input(name);
      for (let i = 0; i < input.length; i++) input[i] = Math.floor(tokens.uniform() * config.vocabSize);
    }
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
      flops: program.flops,
      instructions: program
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
