// Tests the CUDA kernels without a GPU, on the emulator of test/native/simt: every sample of the CPU's kernels and whole
// models through the addon, then the smaller samples again under shuffled orders of threads, late and early copies and
// poisoned memory, with the address and undefined-behaviour sanitizers and with the thread sanitizer; and planted faults, each
// of which must be found.
import { join } from 'node:path';
import { build, isCmakeInstalled, root, run, runProgram, Tally } from './native-programs.mjs';

// The largest samples (flops) and cases of attention (B T S H D) for each kind of build: the sanitizers cost a factor of 5 to 20.
const KINDS = [
  { name: 'simt-plain', sanitize: '', flops: 1e6, products: 1e9, seeds: 2, faults: [] },
  {
    name: 'simt-address',
    sanitize: 'address,undefined',
    flops: 2e5,
    products: 2e6,
    seeds: 1,
    faults: ['shared out of bounds', 'global out of bounds'],
  },
  {
    name: 'simt-thread',
    sanitize: 'thread',
    flops: 5e4,
    products: 2e5,
    seeds: 1,
    faults: ['missing barrier', 'missing last barrier', 'missing copy barrier'],
  },
];
const AVA_FILES = [
  'dist-test/test/ops/kernels.test.js',
  'dist-test/test/models/**/*.test.js',
  'dist-test/test/runtime/session.test.js',
  'dist-test/test/train/trainer.test.js',
  'dist-test/test/inspect/verify.test.js',
];
const SECONDS = 600;
// Fake stacks would be made for every fiber.
const env = { ASAN_OPTIONS: 'detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0' };
const only = process.argv[2]; // a kind, or "addon"

if (!isCmakeInstalled()) {
  console.log('emulator: skipped, cmake is not installed');
  process.exit(0);
}
const tally = new Tally('emulator');
/** The build of a kind: the plain one has the addon too. */
const buildKind = (sanitize) =>
  build(sanitize ? `simt-${sanitize.split(',')[0]}` : 'simt', [
    ...['-DHEDDLE_SIMT=ON', '-DHEDDLE_TEST_ISAS=baseline'],
    ...(sanitize ? ['-DHEDDLE_ADDON=OFF', `-DHEDDLE_SANITIZE=${sanitize}`] : []),
  ]);

if (!only || only === 'addon') {
  const folder = buildKind('');
  if (folder) {
    const env = { ...process.env, HEDDLE_ADDON: join(folder, 'heddle.node'), HEDDLE_TEST_DEVICE: 'cuda' };
    tally.check('AVA tests on the emulator', () => run('npx', ['ava', ...AVA_FILES], { env }));
  } else tally.fail('build of the addon for the emulator');
}
for (const { name, sanitize, flops, products, seeds, faults } of KINDS) {
  if (only && only !== name) continue;
  const folder = buildKind(sanitize);
  if (!folder) {
    tally.fail(`build of ${name}`);
    continue;
  }
  const program = (stem) => join(folder, 'test-native', stem);
  const runSamples = (most, env) => {
    const file = join(folder, 'samples.bin');
    const written = run('node', [join(root, 'dist-test/test/ops/writeSamples.js'), file, String(most)]);
    if (written.status !== 0) return written;
    return runProgram(program('samples'), [file, String(seeds)], { seconds: SECONDS, env });
  };
  tally.check(`samples (${name})`, () => runSamples(flops, env));
  // Every product is then timed against the library's at first.
  if (sanitize === '') {
    const library = { ...env, HEDDLE_CUBLAS: program('fakeCublas.so') };
    tally.check(`samples with a library of matrix products (${name})`, () =>
      runSamples(flops / 100, library),
    );
  }
  tally.check(`attention in bf16 (${name})`, () =>
    runProgram(program('attention'), [String(products)], { seconds: SECONDS, env }),
  );
  tally.check(`matrix products (${name})`, () =>
    runProgram(program('product'), [String(seeds)], { seconds: SECONDS, env }),
  );
  for (const stem of ['tuning', 'ranges'])
    tally.check(`${stem} (${name})`, () => runProgram(program(stem), [], { seconds: SECONDS, env }));
  // The thread sanitizer would end at the first of them.
  if (sanitize !== 'thread')
    tally.check(`faults (${name})`, () => runProgram(program('faults'), [], { seconds: SECONDS, env }));
  for (const fault of [...faults, ...(faults.length > 0 ? ['none'] : [])]) {
    const ended = () => runProgram(program('faults'), [fault], { seconds: SECONDS, stdio: 'ignore', env });
    tally.check(`fault: ${fault} (${name})`, ended, { fails: fault !== 'none' });
  }
}
tally.end();
