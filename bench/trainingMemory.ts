// Peak resident memory of a process that trains, ours and PyTorch's: three steps, then what the system says it held at most.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Precision } from '#src/shape/dtype.js';
import { type Absent, python, reasonOf } from './peers/served.js';
import type { TrainingCase } from './trainingCase.js';

const run = promisify(execFile);
const ourProgram = fileURLToPath(new URL('peakStep.js', import.meta.url));

interface Peak {
  readonly peakBytes: number;
}

async function torchPeak(
  { name: _, ...shape }: TrainingCase,
  precision: Precision,
  threads: number,
): Promise<Peak | Absent> {
  const request = { ...shape, precision, threads, warmup: 1, steps: 2 };
  try {
    return JSON.parse((await run(python, ['bench/peers/torch/step.py', JSON.stringify(request)])).stdout);
  } catch (error) {
    const failure = error as NodeJS.ErrnoException;
    if (failure.code === 'ENOENT') return { absent: reasonOf(failure, python) };
    throw error;
  }
}

/** `ratio` is PyTorch's peak to ours. */
export async function trainingMemory(
  shape: TrainingCase,
  precision: Precision,
  peers: readonly string[],
  threads: number,
) {
  const request = JSON.stringify({ name: shape.name, precision, threads });
  const ours: Peak = JSON.parse((await run(process.execPath, [ourProgram, request])).stdout);
  const found: Record<string, (Peak & { ratio: number }) | Absent> = {};
  for (const peer of peers) {
    const peak = await torchPeak(shape, precision, threads);
    found[peer] =
      'absent' in peak ? peak : { peakBytes: peak.peakBytes, ratio: peak.peakBytes / ours.peakBytes };
  }
  return { name: shape.name, precision, ours, peers: found };
}
