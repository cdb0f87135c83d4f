// The GPU bundle without a GPU: that it unpacks and that its stages run on the CPU, in an empty environment and folder.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { TapCount } from '../bench/gpu/tap.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const addon = join(root, 'build', 'Release', 'heddle.node');
const folder = mkdtempSync(join(tmpdir(), 'heddle-gpu-bundle-'));
const bundle = join(folder, 'bundle');
const unpacked = join(folder, 'unpacked');
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const isMissing = (program: string) =>
  spawnSync(program, ['--version'], { env: {}, stdio: 'ignore' }).status !== 0;
const missing = ['xz', 'tar'].filter(isMissing);
const reason =
  process.platform !== 'linux'
    ? 'bundles are for Linux'
    : missing.length
      ? `${missing.join(' and ')} not found`
      : existsSync(addon)
        ? undefined
        : 'build/Release/heddle.node is not built';

/** A test of the bundle; skipped, with the reason in its name, where none can be made. */
function bundleTest(title: string, body: (t: ExecutionContext) => void): void {
  if (reason) test.skip(`${title} (skipped: ${reason})`, body);
  else test.serial(title, body);
}

const make = (...options: string[]) =>
  spawnSync(process.execPath, [join(root, 'scripts', 'gpu-bundle.mjs'), '--level', '0', ...options], {
    encoding: 'utf8',
    cwd: root,
  });

let calls = 0;
/** Runs the bundle as a machine would that has nothing; `report` is what it wrote. */
function runBundle(options: readonly string[], env: Record<string, string> = {}) {
  const empty = join(folder, `call-${calls++}`);
  mkdirSync(empty);
  const args = [
    join(bundle, 'run.sh'),
    '--unpack',
    unpacked,
    '--device',
    'cpu',
    '--out',
    'report',
    ...options,
  ];
  const { status, stdout, stderr } = spawnSync('/bin/sh', args, { env, cwd: empty, encoding: 'utf8' });
  const file = join(empty, 'report', 'report.json');
  const report = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  return { status, stderr, report, said: `${stdout}${stderr}${JSON.stringify(report?.stages, null, 1)}` };
}

bundleTest('the bundle is made, and says what it holds', (t) => {
  const sample = join(folder, 'text8');
  writeFileSync(sample, 'the quick brown fox jumps over the lazy dog '.repeat(1000));
  const made = make('--out', bundle, '--addon', addon, '--text8', sample);
  t.is(made.status, 0, made.stderr);
  t.regex(made.stdout, /node\.xz .* MB {2}Node v/);
  t.regex(made.stdout, /text8-sample\.txt .* MB {2}the first bytes/);
});

bundleTest('in an empty environment it unpacks, and every stage passes on the CPU', (t) => {
  const { status, report, stderr, said } = runBundle(['--quick']);
  t.is(status, 0, said);
  t.regex(stderr, /unpacked into/);
  const states = Object.entries(report.stages as Record<string, { status: string }>);
  t.deepEqual(Object.fromEntries(states.map(([name, { status }]) => [name, status])), {
    doctor: 'passed',
    conformance: 'passed',
    parity: 'passed',
    determinism: 'passed',
    resume: 'passed',
    sanitizer: 'skipped',
    curves: 'passed',
    attention: 'passed',
    benchmark: 'passed',
  });
  const { conformance, parity, determinism, attention, benchmark } = report.stages;
  t.true(conformance.passed > 20);
  t.is(parity.cases[0].cpu.losses.length, 10);
  t.deepEqual(parity.cases[0].device, parity.cases[0].cpu);
  t.is(determinism.cases[0].distinct, 1);
  t.deepEqual(
    attention.cases.map(({ precision }: { precision: string }) => precision),
    ['float32', 'bf16'],
  );
  for (const { ours } of attention.cases) t.true(ours.forward.teraflops > 0 && ours.backward.teraflops > 0);
  t.deepEqual(
    benchmark.cases.map(({ precision }: { precision: string }) => precision),
    ['float32', 'bf16'],
  );
  for (const { ours } of benchmark.cases) t.true(ours.tokensPerSecond > 0);
});

bundleTest('what fails is recorded, and the next stage goes on', (t) => {
  const { status, report, stderr } = runBundle(['--only', 'doctor,parity'], {
    HEDDLE_ADDON: '/nowhere/heddle.node',
  });
  t.is(status, 1);
  t.regex(stderr, /already unpacked/);
  t.is(report.stages.doctor.status, 'failed');
  t.regex(report.stages.parity.error, /HEDDLE_ADDON: \/nowhere\/heddle\.node does not load/);
});

bundleTest('a stage that takes too long is stopped, and keeps what it had found', (t) => {
  const { status, report } = runBundle(['--only', 'conformance', '--seconds', '6']);
  t.is(status, 1);
  const { conformance } = report.stages;
  t.is(conformance.status, 'timed out');
  t.true(conformance.seconds < 20, `${conformance.seconds} s`);
});

bundleTest('cuBLAS is found in a Python environment, the newest of several', (t) => {
  const lib = join(folder, 'site', 'nvidia', 'cu13', 'lib');
  mkdirSync(lib, { recursive: true });
  for (const version of ['9', '13']) writeFileSync(join(lib, `libcublasLt.so.${version}`), '');
  if (isMissing('python3')) return t.pass('no python3 to look with');
  const { report } = runBundle(['--only', 'doctor', '--quick'], { PYTHONPATH: join(folder, 'site') });
  t.is(report.cublas, join(lib, 'libcublasLt.so.13'));
});

bundleTest('wrong options are named, with what was expected', (t) => {
  const wrong = runBundle(['--only', 'doctor,nothing']);
  t.is(wrong.status, 2);
  t.regex(wrong.stderr, /--only: expected some of doctor, .*, got nothing/);
  t.is(runBundle(['--seconds', 'soon']).status, 2);
  const unmeasured = make('--out', join(folder, 'small'), '--megabytes', 'few');
  t.is(unmeasured.status, 1);
  t.regex(unmeasured.stderr, /--megabytes: expected a number above 0, got few/);
  const taken = make('--out', folder, '--addon', addon);
  t.regex(taken.stderr, /holds other files/);
});

test('TAP: tests are counted, and what was said of a failure is kept', (t) => {
  const count = new TapCount();
  const lines = [
    'TAP version 13',
    'ok 1 - ops › kernels › kernels of add: [3]',
    'not ok 2 - ops › kernels › kernels of add: [5]',
    '  ---',
    '    message: y: 1 instead of 2',
    'ok 3 - ops › kernels › kernels of neg # SKIP',
    '# pass 1',
  ];
  for (const line of lines) count.line(line);
  t.is(count.passed, 1);
  t.is(count.skipped, 1);
  t.deepEqual(count.failed, [
    { name: 'ops › kernels › kernels of add: [5]', said: ['---', 'message: y: 1 instead of 2'] },
  ]);
});
