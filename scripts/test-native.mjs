// Builds test/native/*.cc with the native sources and runs them: once with the address and undefined-behaviour
// sanitizers, once with the thread sanitizer. Builds stay in build-cmake/, so that a second run compiles what changed.
// One instruction set is enough here (HEDDLE_TEST_ISAS): the sources are the same, and the AVA tests run them all.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, parse } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sources } from './compiler.mjs';

const KINDS = [
  { name: 'address', sanitize: 'address,undefined' },
  { name: 'thread', sanitize: 'thread' },
];
const TEST_SECONDS = 300;

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'test', 'native');
const stems = existsSync(folder)
  ? readdirSync(folder)
      .filter((file) => file.endsWith('.cc'))
      .map((file) => parse(file).name)
      .sort()
  : [];

function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
}

function build({ name, sanitize }) {
  const where = join('build-cmake', name);
  const isas = process.env.HEDDLE_TEST_ISAS || 'baseline';
  const options = [`-DHEDDLE_SANITIZE=${sanitize}`, `-DHEDDLE_TEST_ISAS=${isas}`, '-DHEDDLE_ADDON=OFF'];
  const env = { ...process.env, HEDDLE_CUDA: '0' };
  const configured = run('cmake', ['-S', '.', '-B', where, '--log-level=NOTICE', ...options], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (configured.status !== 0) return undefined;
  const jobs = String(process.env.JOBS || availableParallelism());
  return run('cmake', ['--build', where, '--parallel', jobs], { env }).status === 0
    ? join(root, where, 'test-native')
    : undefined;
}

function sanitizerEnvironment() {
  return {
    ...process.env,
    ASAN_OPTIONS: 'detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
  };
}

// The thread sanitizer of older compilers cannot start where the kernel places libraries at random far apart.
const fixedAddresses =
  run('setarch', ['-R', 'true'], { stdio: 'ignore' }).status === 0 ? ['setarch', '-R'] : [];

function skip(reason) {
  console.log(`native tests: skipped, ${reason}`);
  process.exit(0);
}

if (stems.length === 0) skip('there are none in test/native');
if (run('cmake', ['--version'], { stdio: 'ignore' }).status !== 0) skip('cmake is not installed');
const unwritten = [...sources.host_sources, ...sources.kernel_sources].filter(
  (file) => !existsSync(join(root, file)),
);
if (unwritten.length > 0)
  throw new Error(`native/sources.json names files that are not there: ${unwritten.join(', ')}`);

const failed = [];
let passed = 0;
for (const kind of KINDS) {
  const programs = build(kind);
  if (!programs) {
    failed.push(`build with -fsanitize=${kind.sanitize}`);
    continue;
  }
  for (const stem of stems) {
    const command = [...fixedAddresses, join(programs, stem)];
    const started = performance.now();
    const { status, signal } = run(command[0], command.slice(1), {
      env: sanitizerEnvironment(),
      timeout: TEST_SECONDS * 1000,
    });
    const label = `${stem} (${kind.name})`;
    const took = `${((performance.now() - started) / 1000).toFixed(1)} s`;
    if (status === 0) {
      passed++;
      console.log(`  ok ${label}, ${took}`);
    } else {
      failed.push(label);
      console.log(`  FAILED ${label}: ${signal ?? `exit code ${status}`}, ${took}`);
    }
  }
}
const names = failed.length > 0 ? ` (${failed.join('; ')})` : '';
console.log(`native tests: ${passed} passed, ${failed.length} failed${names}`);
process.exitCode = failed.length > 0 ? 1 : 0;
