import { renameSync, writeFileSync } from 'node:fs';
import type { Device } from '#src/runtime/session.js';

/** What a stage is told, and where it leaves what it found. */
export interface StageContext {
  readonly device: Device;
  /** Few samples and small models: whether everything works, not how fast. */
  readonly quick: boolean;
  /** Cases of the benchmark; all of them when empty. */
  readonly cases: readonly string[];
  /** Whether the benchmark runs PyTorch too. */
  readonly peers: boolean;
  /** Seconds until the stage will be killed. */
  readonly secondsLeft: () => number;
  /** Adds findings to the report; also kept where the stage is killed later. */
  readonly record: (found: Readonly<Record<string, unknown>>) => void;
}

/** How a stage ended by itself. */
export type Verdict =
  | { readonly status: 'passed' | 'failed' }
  | { readonly status: 'skipped'; reason: string };

/** A part of the run, in a process of its own. Throws where something could not even be tried. */
export type Stage = (context: StageContext) => Promise<Verdict>;

/** Passed where nothing speaks against it. */
export const verdict = (isPassed: boolean): Verdict => ({ status: isPassed ? 'passed' : 'failed' });

/** Writes JSON so that a reader finds the old file or the new one, never a part. */
export function writeJson(file: string, value: unknown): void {
  writeFileSync(`${file}.part`, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(`${file}.part`, file);
}
