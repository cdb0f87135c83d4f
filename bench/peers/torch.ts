import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { TrainingCase } from '../trainingCase.js';

/** A PyTorch process that makes steps when asked, so that both sides take turns in one run. */
export class TorchPeer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly lines: AsyncIterator<string>,
    readonly version: string,
  ) {}

  /** `python` needs torch (pip install torch==2.13.0). Resolves to the reason where it is absent. */
  static async start(shape: TrainingCase, threads: number, python = process.env.HEDDLE_PYTHON ?? 'python3') {
    const { name: _, ...rest } = shape;
    const argument = JSON.stringify({ ...rest, threads });
    const child = spawn(python, ['bench/peers/torch/step.py', '--serve', argument], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const failed = new Promise<string>((resolve) => child.once('error', (error) => resolve(error.message)));
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const first = await Promise.race([lines.next(), failed]);
    if (typeof first === 'string') return { absent: first };
    if (first.done) return { absent: `${python} ended without a word` };
    const ready = JSON.parse(first.value) as { ready?: boolean; absent?: string; torch?: string };
    return ready.absent ? { absent: ready.absent } : new TorchPeer(child, lines, ready.torch ?? 'unknown');
  }

  async time(count: number): Promise<number[]> {
    this.child.stdin!.write(`step ${count}\n`);
    const { value } = await this.lines.next();
    const answer = JSON.parse(value) as number[] | { seconds: number[] };
    return Array.isArray(answer) ? answer : answer.seconds;
  }

  close(): void {
    this.child.stdin!.end();
  }
}
