// A training step on the device: time with its spread, host time, memory, and where the time goes by op; then PyTorch's step.
import { execFileSync } from 'node:child_process';
import { compile } from '#src/compile/index.js';
import { OutOfMemoryError } from '#src/errors.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { type Device, Session } from '#src/runtime/session.js';
import { type Precision, precisions } from '#src/shape/dtype.js';
import { ProgramBuilder } from '#src/train/programs.js';
import { Stepper, type StepperOptions } from '#src/train/stepper.js';
import { median } from '../machine.js';
import { caseOptions, timeSteps } from '../trainingCase.js';
import { type GpuCase, gpuCases } from './cases.js';
import { type Case, measureCeilings, measurePeers } from './peers.js';
import { type Stage, type StageContext, verdict } from './stage.js';

/** The first run of a program is eager and the second is captured; a few more settle the clocks. */
const warmup = 10;
const profiles = 5;

const quantile = (sorted: readonly number[], share: number) =>
  sorted[Math.round(share * (sorted.length - 1))];

/** Seconds of steps: the middle one, and the bounds of the middle eight tenths. */
function spread(seconds: readonly number[]) {
  const sorted = [...seconds].sort((a, b) => a - b);
  return {
    median: median(sorted),
    p10: quantile(sorted, 0.1),
    p90: quantile(sorted, 0.9),
    steps: sorted.length,
  };
}

/** Bytes in use on the GPU, all processes together; undefined without nvidia-smi. */
function usedGpuBytes(device: Device): number | undefined {
  if (device === 'cpu') return undefined;
  const index = device.split(':')[1] ?? '0';
  try {
    const query = ['-i', index, '--query-gpu=memory.used', '--format=csv,noheader,nounits'];
    return Number(execFileSync('nvidia-smi', query, { encoding: 'utf8', timeout: 20_000 })) * 2 ** 20;
  } catch {
    return undefined;
  }
}

/** A stepper with the largest batch that fits: a case that shrinks halves it until then. */
async function openCase(
  shape: GpuCase,
  device: Device,
  precision: Precision,
): Promise<{ stepper: Stepper; options: StepperOptions; shape: GpuCase }> {
  for (let batchSize = shape.batchSize; ; batchSize >>= 1) {
    const fitting = { ...shape, batchSize };
    const options = caseOptions(fitting, { device, precision });
    const stepper = new Stepper(options);
    try {
      await stepper.load();
      return { stepper, options, shape: fitting };
    } catch (error) {
      await stepper.session.close().catch(() => {}); // it fails with the first error again
      if (!(error instanceof OutOfMemoryError) || !shape.shrinks || batchSize === 1) throw error;
      console.log(`${shape.name}: ${error.message}; half the batch`);
    }
  }
}

/** The ops of a step by the time they take, from session.profile: each instruction's median over several runs. */
async function profileOps(stepper: Stepper, options: StepperOptions, copyRate: number) {
  const { model, objective, data, batchSize: rows, optimizer, clip, precision } = options;
  const { vocabSize } = data.tokenizer;
  const program = new ProgramBuilder(stepper.table, {
    model,
    objective,
    vocabSize,
    rows,
    optimizer,
    clip,
    precision,
  }).build('step');
  const [id] = await stepper.session.load([program.bytes]);
  const inputs = new Uint8Array(program.inputBytes);
  const tokens = new Int32Array(inputs.buffer);
  for (let index = 0; index < tokens.length; index++)
    tokens[index] = ((index * 2654435761) >>> 8) % vocabSize;
  const outputs = new Uint8Array(program.outputBytes);
  const scalars = encodeScalars({ learningRate: 1e-4, seed: 1 });
  const runs: Float64Array[] = [];
  for (let run = 0; run < profiles + 1; run++)
    runs.push(await stepper.session.profile(id, inputs, scalars, outputs));
  runs.shift();
  const ops = new Map<string, { calls: number; seconds: number; flops: number; bytes: number }>();
  let total = 0;
  for (const [index, { op, flops, bytes }] of program.costs().entries()) {
    const seconds = median(runs.map((run) => run[index]));
    const sum = ops.get(op) ?? { calls: 0, seconds: 0, flops: 0, bytes: 0 };
    ops.set(op, {
      calls: sum.calls + 1,
      seconds: sum.seconds + seconds,
      flops: sum.flops + flops,
      bytes: sum.bytes + bytes,
    });
    total += seconds;
  }
  const table = [...ops].map(([op, { calls, seconds, flops, bytes }]) => ({
    op,
    calls,
    milliseconds: 1000 * seconds,
    share: seconds / total,
    teraflops: flops / seconds / 1e12,
    gigabytesPerSecond: bytes / seconds / 1e9,
    ofCopy: bytes / seconds / copyRate,
  }));
  return {
    milliseconds: 1000 * total,
    instructions: program.instructions,
    flops: program.flops,
    ops: table.sort((a, b) => b.milliseconds - a.milliseconds),
  };
}

/** Bytes a second, read and written counted, of copying an array much larger than any cache. */
async function measureCopy(device: Device, quick: boolean): Promise<number> {
  const elements = quick ? 2 ** 18 : 2 ** 28;
  const slot = (name: string, offset: number): Slot => ({
    arena: 'kvCache',
    offset,
    shape: [elements],
    dtype: 'f32',
    name,
  });
  const graph = new Graph();
  graph.store(graph.readSlot(slot('from', 0)), slot('to', 4 * elements));
  const program = compile(graph);
  const session = Session.open({ device });
  try {
    const [id] = await session.load([program.bytes]);
    const [inputs, outputs] = [new Uint8Array(program.inputBytes), new Uint8Array(program.outputBytes)];
    const seconds: number[] = [];
    for (let run = 0; run < 12; run++) {
      const times = await session.profile(id, inputs, encodeScalars({}), outputs);
      seconds.push(times.reduce((sum, time) => sum + time, 0));
    }
    return (8 * elements) / median(seconds.slice(2));
  } finally {
    await session.close();
  }
}

async function measureCase(
  given: GpuCase,
  precision: Precision,
  { device, quick, secondsLeft }: StageContext,
  copyRate: number,
) {
  const before = usedGpuBytes(device);
  const { stepper, options, shape } = await openCase(given, device, precision);
  try {
    const { session } = stepper;
    const first = await timeSteps(stepper, 0, quick ? 2 : warmup);
    const trial = first.at(-1)!;
    const budget = Math.min(5, secondsLeft() / 4);
    const count = quick ? 5 : Math.max(10, Math.min(2000, Math.round(budget / trial)));
    const kernelsBefore = session.stats().kernelSeconds;
    const processorBefore = process.cpuUsage();
    const seconds = await timeSteps(stepper, first.length, count);
    const processor = process.cpuUsage(processorBefore);
    const inSession = session.stats().kernelSeconds - kernelsBefore;
    // On the main thread: the next batch, and handing it over. One at a time, so that no step waits for another's turn.
    const submits: number[] = [];
    for (let step = 0; step < Math.min(count, 50); step++) {
      const started = performance.now();
      const running = stepper.submit(first.length + count + step);
      submits.push((performance.now() - started) / 1000);
      await running;
    }
    const after = usedGpuBytes(device);
    const { arenas, matmulChoices } = session.stats();
    const tokens = shape.batchSize * shape.sequenceLength;
    const time = spread(seconds);
    const profile = await profileOps(stepper, options, copyRate);
    const ours = {
      milliseconds: {
        median: 1000 * time.median,
        p10: 1000 * time.p10,
        p90: 1000 * time.p90,
        steps: time.steps,
      },
      tokensPerSecond: tokens / time.median,
      teraflops: profile.flops / time.median / 1e12,
      hostMilliseconds: {
        mainThread: 1000 * median(submits),
        allThreads: (processor.user + processor.system) / 1000 / count,
        inSession: (1000 * inSession) / count,
      },
      memory: {
        arenas,
        arenaBytes: Object.values(arenas).reduce((sum, bytes) => sum + bytes, 0),
        gpuBytes: before === undefined || after === undefined ? undefined : after - before,
      },
      matmulChoices: matmulChoices.split('\n').filter(Boolean),
      profile,
    };
    const milliseconds = ours.milliseconds.median.toFixed(3);
    console.log(`${shape.name}, ${precision}: ${milliseconds} ms a step of ${tokens} tokens`);
    return { ...shape, precision, tokens, ours };
  } finally {
    await stepper.session.close();
  }
}

export const benchmark: Stage = async (context) => {
  const { device, quick, cases: asked, record, peers, secondsLeft } = context;
  const byDefault = device === 'cpu' || quick ? ['tiny'] : gpuCases.map(({ name }) => name);
  const names = asked.length ? asked : byDefault;
  const copyRate = await measureCopy(device, quick);
  record({ copyGigabytesPerSecond: copyRate / 1e9 });
  const cases: Case[] = [];
  let isWhole = true;
  const chosen = gpuCases.filter(({ name }) => names.includes(name));
  for (const shape of chosen)
    for (const precision of precisions) {
      if (secondsLeft() < 20) cases.push({ ...shape, precision, notRun: 'no time left' });
      else
        try {
          cases.push(await measureCase(shape, precision, context, copyRate));
        } catch (error) {
          isWhole = false;
          cases.push({ ...shape, precision, error: (error as Error).message });
          console.log(`${shape.name}, ${precision}: ${(error as Error).message}`);
        }
      record({ cases });
    }
  if (!peers || device === 'cpu') {
    record({
      peers: device === 'cpu' ? 'only with CUDA; npm run bench compares on the CPU' : 'not asked for',
    });
    return verdict(isWhole);
  }
  const ceilings = measureCeilings(secondsLeft());
  record({ peers: ceilings });
  if (!('absent' in ceilings)) measurePeers(cases, secondsLeft, () => record({ cases }));
  return verdict(isWhole);
};
