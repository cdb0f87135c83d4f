// Builds the programs of native tests by CMake, with sanitizers, and runs them. Builds stay in build-cmake/, so that a second
// run compiles what changed.
import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** How many things are done at once. */
const jobs = Number(process.env.JOBS) || availableParallelism();

/** Runs a command in the project's folder, with its output shown. */
function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
}

export const isCmakeInstalled = () => run('cmake', ['--version'], { stdio: 'ignore' }).status === 0;

/** Configures and builds build-cmake/NAME; its folder, or undefined where that failed. */
export function build(name, options) {
  const folder = join('build-cmake', name);
  const env = { ...process.env, HEDDLE_CUDA: '0' };
  const configured = run('cmake', ['-S', '.', '-B', folder, '--log-level=NOTICE', ...options], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (configured.status !== 0) return undefined;
  return run('cmake', ['--build', folder, '--parallel', String(jobs)], { env }).status === 0
    ? join(root, folder)
    : undefined;
}

const sanitizerEnvironment = {
  ASAN_OPTIONS: 'detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
};

// The thread sanitizer of older compilers cannot start where the kernel places libraries at random far apart.
const fixedAddresses =
  run('setarch', ['-R', 'true'], { stdio: 'ignore' }).status === 0 ? ['setarch', '-R'] : [];

/** Starts a command in the project's folder; how it ends, and all that it said. */
export function start(command, args, { seconds, env } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: seconds && seconds * 1000,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    child.on('error', ({ message }) => resolve({ status: null, signal: message, output }));
    child.on('close', (status, signal) => resolve({ status, signal, output }));
  });
}

/** Starts a program that may have been built with a sanitizer. */
export function startProgram(file, args, { seconds, env }) {
  const [command, ...rest] = [...fixedAddresses, file, ...args];
  return start(command, rest, { seconds, env: { ...process.env, ...sanitizerEnvironment, ...env } });
}

/** Counts what passed and failed, a line each, and sets the exit code at the end. */
export class Tally {
  #name;
  #passed = 0;
  #failed = [];

  constructor(name) {
    this.#name = name;
  }

  /**
   * Runs `body`, which promises the end of a process, and expects exit code 0, or another one where `fails`. What was said
   * is shown, except where the failure is what was wanted.
   */
  async check(label, body, { fails = false } = {}) {
    const started = performance.now();
    const { status, signal, output } = await body();
    const took = `${((performance.now() - started) / 1000).toFixed(1)} s`;
    const isRight = fails ? status !== 0 && status !== null : status === 0;
    if (isRight) this.#passed++;
    else this.#failed.push(label);
    if (!fails || !isRight) process.stdout.write(output);
    const outcome = signal ?? `exit code ${status}`;
    console.log(isRight ? `  ok ${label}, ${took}` : `  FAILED ${label}: ${outcome}, ${took}`);
  }

  /** Runs checks that do not disturb each other, one for each core at a time, in their order. */
  async checkAll(checks) {
    const left = [...checks];
    const work = async () => {
      for (let next = left.shift(); next; next = left.shift()) await this.check(...next);
    };
    await Promise.all(Array.from({ length: jobs }, work));
  }

  fail(label) {
    this.#failed.push(label);
  }

  end() {
    const names = this.#failed.length > 0 ? ` (${this.#failed.join('; ')})` : '';
    console.log(`${this.#name}: ${this.#passed} passed, ${this.#failed.length} failed${names}`);
    process.exitCode = this.#failed.length > 0 ? 1 : 0;
  }
}
