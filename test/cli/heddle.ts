// `heddle` as a process of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { temporaryFolder } from '../train/tiny.js';

export interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `heddle` with a cache folder of its own; `watch` sees each piece of standard output. */
export function heddle(
  folder: string,
  args: readonly string[],
  watch: (output: string, child: ChildProcess) => void = () => {},
): Promise<Result> {
  const child = spawn(process.execPath, ['dist/cli/main.js', ...args], {
    env: { ...process.env, HEDDLE_CACHE: join(folder, 'cache') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (piece) => {
    stdout += piece;
    watch(stdout, child);
  });
  child.stderr.on('data', (piece) => {
    stderr += piece;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Commands in a folder that goes with the test. */
export function commands(t: ExecutionContext) {
  const folder = temporaryFolder(t);
  const run = (...args: string[]): Promise<Result> => heddle(folder, args);
  /** What a command writes that must succeed. */
  const succeed = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(...args);
    t.is(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  /** A command that must end with the code of a mistake and say what it is. */
  const refused = async (message: RegExp, ...args: string[]): Promise<void> => {
    const { code, stderr } = await run(...args);
    t.is(code, 2, stderr);
    t.regex(stderr, message);
  };
  const write = (name: string, lines: readonly string[]): string => {
    writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
    return join(folder, name);
  };
  return { folder, at: (name: string) => join(folder, name), heddle: run, succeed, refused, write };
}

/** JSON objects, one a line. */
export const events = (output: string) =>
  output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

export const last = (output: string) => events(output).at(-1)!;
