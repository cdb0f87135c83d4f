// Whole training steps: the same losses on the CPU and on the device, the same bits on every replay, and after a resume.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { splitTokens } from '#src/data/split.js';
import type { DecoderOptions } from '#src/models/config.js';
import type { Device } from '#src/runtime/session.js';
import { type Precision, precisions } from '#src/shape/dtype.js';
import { Stepper } from '#src/train/stepper.js';
import { Trainer } from '#src/train/trainer.js';
import { caseOptions, type TrainingCase } from '../trainingCase.js';
import { type Stage, verdict } from './stage.js';

interface ParityCase extends TrainingCase {
  readonly model: Partial<DecoderOptions>;
  readonly precision: Precision;
}

const small = { layers: 2, hiddenSize: 64, heads: 2, sequenceLength: 32, batchSize: 4, vocabSize: 65 };
const cases: readonly ParityCase[] = [
  { name: 'gpt2, small, dropout', ...small, model: { dropout: 0.1 }, precision: 'float32' },
  {
    name: 'llama, small, grouped heads',
    ...small,
    heads: 4,
    model: { modelType: 'llama', hiddenAct: 'swiglu', numKeyValueHeads: 2 },
    precision: 'float32',
  },
  { name: 'gpt2, small, dropout, bf16', ...small, model: { dropout: 0.1 }, precision: 'bf16' },
  ...precisions.map((precision) => ({
    name: `gpt2, width 256, ${precision}`,
    layers: 4,
    hiddenSize: 256,
    heads: 4,
    sequenceLength: 128,
    batchSize: 8,
    vocabSize: 5000,
    model: {},
    precision,
  })),
];
const chosenCases = (quick: boolean) => (quick ? cases.slice(0, 3) : cases);

const steps = 10;
/** Relative, over ten steps: sums in another order, rounded to the precision, and what training makes of the differences. */
const tolerances = { float32: { loss: 1e-4, norm: 1e-3 }, bf16: { loss: 5e-3, norm: 5e-2 } } as const;

async function trace({ model, precision, ...shape }: ParityCase, device: Device) {
  const stepper = new Stepper(caseOptions(shape, { device, model, precision, maxSteps: steps }));
  try {
    await stepper.load();
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 0; step < steps; step++) {
      const { loss, gradientNorm } = await stepper.submit(step);
      losses.push(loss);
      norms.push(gradientNorm);
    }
    return { losses, norms };
  } finally {
    await stepper.session.close();
  }
}

const relative = (found: number, expected: number) => Math.abs(found - expected) / Math.abs(expected);

/** Ten steps on the CPU and on the device, side by side. */
export const parity: Stage = async ({ device, quick, record }) => {
  const compared = [];
  for (const shape of chosenCases(quick)) {
    const tolerance = tolerances[shape.precision];
    const cpu = await trace(shape, 'cpu');
    const other = await trace(shape, device);
    const lossDifferences = other.losses.map((loss, index) => relative(loss, cpu.losses[index]));
    const normDifferences = other.norms.map((norm, index) => relative(norm, cpu.norms[index]));
    const isWithin = (differences: readonly number[], tolerance: number) =>
      differences.every((difference) => difference <= tolerance); // never for NaN
    compared.push({
      name: shape.name,
      isEqual: isWithin(lossDifferences, tolerance.loss) && isWithin(normDifferences, tolerance.norm),
      cpu,
      device: other,
      lossDifferences,
      normDifferences,
    });
    record({ steps, tolerances, cases: compared });
    console.log(`${shape.name}: losses differ by at most ${Math.max(...lossDifferences)}`);
  }
  return verdict(compared.every(({ isEqual }) => isEqual));
};

const digest = (...parts: readonly Uint8Array[]) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

/** Everything that training keeps, as bytes. */
class Snapshot {
  private constructor(private readonly arenas: ReadonlyMap<string, Uint8Array>) {}

  static async of({ session }: Stepper): Promise<Snapshot> {
    const sizes = session.stats().arenas;
    const arenas = new Map<string, Uint8Array>();
    for (const name of ['parameters', 'parametersBf16', 'optimizerState'].filter((name) => sizes[name]))
      arenas.set(name, await session.read(name, 0, new Uint8Array(sizes[name])));
    return new Snapshot(arenas);
  }

  async restore({ session }: Stepper): Promise<void> {
    for (const [name, bytes] of this.arenas) await session.write(name, 0, bytes);
  }

  get digest(): string {
    return digest(...this.arenas.values());
  }
}

/** One step from the same state again and again, and ten steps in two sessions: equal to the last bit. */
export const determinism: Stage = async ({ device, quick, record }) => {
  const replays = quick ? 10 : 100;
  const found = [];
  for (const { model, precision, ...shape } of chosenCases(quick)) {
    const states: string[][] = [];
    let replayed = new Set<string>();
    for (let session = 0; session < 2; session++) {
      const stepper = new Stepper(caseOptions(shape, { device, model, precision }));
      try {
        await stepper.load();
        const start = await Snapshot.of(stepper);
        const digests: string[] = [];
        for (let step = 0; step < steps; step++) {
          const result = await stepper.submit(step);
          digests.push(`${(await Snapshot.of(stepper)).digest} ${JSON.stringify(result)}`);
        }
        states.push(digests);
        if (session > 0) continue;
        replayed = new Set();
        for (let replay = 0; replay < replays; replay++) {
          await start.restore(stepper);
          const result = await stepper.submit(0);
          replayed.add(`${(await Snapshot.of(stepper)).digest} ${JSON.stringify(result)}`);
        }
        replayed.add(digests[0]); // the first run, which was no replay
      } finally {
        await stepper.session.close();
      }
    }
    const firstStepApart = states[0].findIndex((state, index) => state !== states[1][index]);
    found.push({ name: shape.name, replays, distinct: replayed.size, sessions: 2, firstStepApart });
    record({ cases: found });
    console.log(`${shape.name}: ${replays} replays, ${replayed.size} distinct result(s)`);
  }
  return verdict(found.every(({ distinct, firstStepApart }) => distinct === 1 && firstStepApart === -1));
};

/** 40 steps at once, and 20, a checkpoint, and 20 more in another session: the same weights and log. */
export const resume: Stage = async ({ device, record }) => {
  const [whole, half] = [40, 20];
  const folder = mkdtempSync(join(tmpdir(), 'heddle-resume-'));
  const { model, ...shape } = cases[0];
  const train = async (name: string, stopAt?: number, resume = false) => {
    const out = join(folder, name);
    const options = caseOptions(shape, { device, model, maxSteps: whole });
    const data = { ...options.data, parts: splitTokens(options.data.source.count) };
    const trainer = new Trainer({
      ...options,
      data,
      out,
      resume,
      checkpointEvery: half,
      evalEvery: half,
      evalBatches: 2,
    });
    const stop = new AbortController();
    try {
      for await (const event of trainer.run({ signal: stop.signal }))
        if (event.event === 'step' && event.step === stopAt) stop.abort();
    } finally {
      await trainer.close();
    }
    const checkpoint = await openCheckpoint(out, { prefer: 'latest' });
    const read = (file: string) => readFileSync(join(checkpoint.folder, file));
    return {
      weights: digest(read('model.safetensors')),
      optimizer: digest(read('optimizer.safetensors')),
      log: digest(readFileSync(join(out, 'metrics.jsonl'))),
    };
  };
  try {
    const straight = await train('straight');
    const stopped = await train('parted', half);
    const resumed = await train('parted', undefined, true);
    record({ steps: { whole, half }, straight, stopped, resumed });
    const isSame = JSON.stringify(straight) === JSON.stringify(resumed);
    console.log(`resumed run and straight run: ${isSame ? 'the same bytes' : 'different bytes'}`);
    return verdict(isSame && stopped.weights !== straight.weights);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
