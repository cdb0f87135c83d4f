// PyTorch beside the cases of the GPU benchmark: a script of bench/peers/torch in a process for each way of running it.
import { spawnSync } from 'node:child_process';
import type { Precision } from '#src/shape/dtype.js';
import { python } from '../peers/served.js';
import type { GpuCase } from './cases.js';

const folder = 'bench/peers/torch';
/** The most that one way may take: compiling GPT-2 takes most of it. */
const mostSeconds = 240;
const leastSeconds = 30;

export interface PeerResult {
  readonly way: string;
  readonly error?: string;
  readonly [figure: string]: unknown;
}

/** A case with what was measured so far. */
export interface Case extends GpuCase {
  readonly precision: Precision;
  readonly tokens?: number;
  readonly ours?: { readonly milliseconds: { readonly median: number }; readonly tokensPerSecond: number };
  readonly notRun?: string;
  readonly error?: string;
  peers?: PeerResult[];
}

/** Ways to run PyTorch, the most telling first: time may run out. */
const ways = [
  { precision: 'bf16', mode: 'compile', attention: 'flash' },
  { precision: 'bf16', mode: 'compile', attention: 'cudnn' },
  { precision: 'tf32', mode: 'compile', attention: 'efficient' },
  { precision: 'float32', mode: 'compile', attention: 'efficient' },
  { precision: 'bf16', mode: 'reduce-overhead', attention: 'flash' },
  { precision: 'bf16', mode: 'reduce-overhead', attention: 'cudnn' },
  { precision: 'tf32', mode: 'reduce-overhead', attention: 'efficient' },
  { precision: 'bf16', mode: 'eager', attention: 'flash' },
  { precision: 'bf16', mode: 'eager', attention: 'cudnn' },
  { precision: 'float32', mode: 'eager', attention: 'efficient' },
] as const;

/** The JSON line that a script ends with, or why there is none. */
export function ask(
  argument: object,
  seconds: number,
  script: 'cuda_step.py' | 'cuda_attention.py' = 'cuda_step.py',
): Record<string, unknown> {
  const args = [`${folder}/${script}`, JSON.stringify(argument)];
  const { status, signal, error, stdout, stderr } = spawnSync(python, args, {
    encoding: 'utf8',
    timeout: Math.max(1, Math.round(1000 * seconds)),
    killSignal: 'SIGKILL',
    maxBuffer: 2 ** 26,
  });
  if (error && !signal) return { absent: `${python}: ${error.message}` };
  if (signal) return { error: `killed after ${Math.round(seconds)} s` };
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1)!);
  } catch {
    console.log(stderr);
    return { error: stderr.trim().split('\n').at(-1) || `exit code ${status}` };
  }
}

/** Versions, and what PyTorch's copy and matrix products reach on this GPU; `absent` says why there is no peer. */
export const measureCeilings = (secondsLeft: number) =>
  ask({ ceilings: true }, Math.min(120, secondsLeft - 5));

/** Losses of PyTorch's steps in float32 on random windows of a text file, from weights of its own. */
export function measureCurve(
  { layers, hiddenSize, heads, sequenceLength, vocabSize, batchSize }: GpuCase,
  curve: { readonly text: string; readonly steps: number; readonly learningRate: number },
  secondsLeft: number,
) {
  const way = { precision: 'float32', mode: 'eager', attention: 'efficient' };
  const shape = { layers, hiddenSize, heads, sequenceLength, vocabSize, batchSize };
  return ask({ ...shape, ...way, ...curve }, Math.min(mostSeconds, secondsLeft - 5));
}

/** At our batch, or where PyTorch has not the memory for it, at the largest half of it that fits. */
function measureWay(shape: Case, way: (typeof ways)[number], secondsLeft: () => number): PeerResult {
  const name = `${way.mode}, ${way.precision}, ${way.attention}`;
  const { layers, hiddenSize, heads, sequenceLength, vocabSize } = shape;
  for (let batchSize = shape.batchSize; ; batchSize >>= 1) {
    if (secondsLeft() < leastSeconds) return { way: name, error: 'not run: no time left' };
    const setting = { layers, hiddenSize, heads, sequenceLength, vocabSize, batchSize, ...way };
    const answer = ask(setting, Math.min(mostSeconds, secondsLeft() - 5));
    if (answer.outOfMemory && batchSize > 1) continue;
    const rate = answer.tokensPerSecond;
    const ratio = typeof rate === 'number' && shape.ours ? shape.ours.tokensPerSecond / rate : undefined;
    console.log(`${shape.name}, PyTorch, ${name}: ${JSON.stringify(answer.milliseconds ?? answer)}`);
    return { way: name, batchSize, ...answer, ratio };
  }
}

/** Adds PyTorch's figures to the cases. `ratio` above 1: we make so many times more tokens a second. */
export function measurePeers(cases: readonly Case[], secondsLeft: () => number, onResult: () => void): void {
  for (const way of ways) {
    for (const shape of cases) {
      // tf32 is a way to compute with float32 operands.
      if (!shape.ours || (way.precision === 'bf16') !== (shape.precision === 'bf16')) continue;
      shape.peers ??= [];
      shape.peers.push(measureWay(shape, way, secondsLeft));
      onResult();
    }
  }
}
