import type { Precision } from '#src/shape/dtype.js';
import type { TrainingCase } from '../trainingCase.js';
import { type Absent, python, serve } from './served.js';

/** What a peer of the step benchmark is given. */
export interface PeerRequest {
  readonly shape: TrainingCase;
  readonly precision: Precision;
  readonly threads: number;
  /** A safetensors file with the weights and the batch to begin with. */
  readonly weights: string;
}

/** A peer that stands ready for a case. */
export interface RunningPeer {
  readonly version: string;
  /** Of the batch and the weights it was given, in nats per token. */
  readonly loss: number;
  /** Makes steps and returns the seconds that each took. */
  time(count: number): Promise<number[]>;
  close(): void;
}

export interface StepPeer {
  /** Why it takes no part in a case; undefined where it does. */
  refuses(shape: TrainingCase, precision: Precision): string | undefined;
  start(request: PeerRequest): Promise<RunningPeer | Absent>;
  /** Steps that a slow peer makes in all, one a turn. */
  readonly mostSteps?: number;
}

/** Starts a program that knows the command `step K`. */
export async function startPeer(command: string, args: readonly string[]): Promise<RunningPeer | Absent> {
  const served = await serve<{ version: string; loss: number }>(command, args);
  if ('absent' in served) return served;
  const { ready, ask, close } = served;
  return {
    ...ready,
    time: async (count) => (await ask<{ seconds: number[] }>(`step ${count}`)).seconds,
    close,
  };
}

/** PyTorch on the CPU: eager float32, or bf16 by autocast. HEDDLE_PYTHON needs torch (pip install torch==2.13.0). */
const torch: StepPeer = {
  refuses: () => undefined,
  start: ({ shape: { name: _, ...shape }, ...request }) =>
    startPeer(python, ['bench/peers/torch/step.py', '--serve', JSON.stringify({ ...shape, ...request })]),
};

/** A backend of TensorFlow.js, which knows no bf16, for the cases that end within minutes. */
const tfjs = (backend: 'wasm' | 'cpu', cases: readonly string[]): StepPeer => ({
  refuses(shape, precision) {
    if (precision !== 'float32') return 'has float32 only';
    return cases.includes(shape.name) ? undefined : `too slow for other cases than ${cases.join(', ')}`;
  },
  start: ({ shape: { name: _, ...shape }, weights }) =>
    startPeer(process.execPath, [
      'bench/peers/tfjs/step.mjs',
      JSON.stringify({ ...shape, backend, weights }),
    ]),
  mostSteps: 3,
});

export const stepPeers: Readonly<Record<string, StepPeer>> = {
  torch,
  'tfjs-wasm': tfjs('wasm', ['tiny', 'd128', 'd384']),
  'tfjs-cpu': tfjs('cpu', ['tiny', 'd128']),
};
