// Tests the CUDA kernels without a GPU, on the emulator of test/native/simt: every sample of the CPU's kernels and whole
// models through the addon, then the smaller samples again under shuffled orders of threads, late and early copies and
// poisoned memory, with the address and undefined-behaviour sanitizers and with the thread sanitizer; and planted faults, each
// of which must be found. Builds use all cores; what they made then runs side by side.
import { join } from 'node:path';
import { build, isCmakeInstalled, root, start, startProgram, Tally } from './native-programs.mjs';

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
  'dist-test/test/train/matmulChoices.test.js',
  'dist-test/test/train/remake.test.js',
  'dist-test/test/train/trainer.test.js',
  'dist-test/test/inspect/verify.test.js',
];
const SECONDS = 600;
// Fake stacks would be made for every fiber.
const env = { ASAN_OPTIONS: 'detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0' };
const only = process.argv[2]; // a kind, or "addon"
const samples = join(root, 'build-cmake', 'samples.bin');

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

/** What runs of a kind of build, each as the arguments of Tally.check. */
function checksOf({ name, sanitize, flops, products, seeds, faults }, folder) {
  const check = (label, stem, args = [], more = {}, expected = {}) => {
    const options = { seconds: SECONDS, env: { ...env, ...more } };
    return [
      `${label} (${name})`,
      () => startProgram(join(folder, 'test-native', stem), args, options),
      expected,
    ];
  };
  const checks = [
    check('samples', 'samples', [samples, String(flops), String(seeds)]),
    check('attention in bf16', 'attention', [String(products)]),
    check('matrix products', 'product', [String(seeds)]),
    check('tuning', 'tuning'),
    check('ranges', 'ranges'),
  ];
  // Every product is then timed against the library's at first.
  if (sanitize === '') {
    const library = { HEDDLE_CUBLAS: join(folder, 'test-native', 'fakeCublas.so') };
    checks.push(
      check(
        'samples with a library of matrix products',
        'samples',
        [samples, String(flops / 100), String(seeds)],
        library,
      ),
    );
  }
  // The thread sanitizer would end at the first of them.
  if (sanitize !== 'thread') checks.push(check('faults', 'faults'));
  for (const fault of [...faults, ...(faults.length > 0 ? ['none'] : [])])
    checks.push(check(`fault: ${fault}`, 'faults', [fault], {}, { fails: fault !== 'none' }));
  return checks;
}

if (!only || only === 'addon') {
  const folder = buildKind('');
  if (folder) {
    const env = {
      ...process.env,
      HEDDLE_ADDON: join(folder, 'heddle.node'),
      HEDDLE_TEST_CUBLAS: join(folder, 'test-native', 'fakeCublas.so'),
      HEDDLE_TEST_DEVICE: 'cuda',
    };
    // In processes: the emulator runs one kernel at a time in each.
    const args = ['ava', '--no-worker-threads', ...AVA_FILES];
    await tally.check('AVA tests on the emulator', () => start('npx', args, { env }));
  } else tally.fail('build of the addon for the emulator');
}
const kinds = KINDS.filter(({ name }) => !only || only === name);
const checks = [];
for (const kind of kinds) {
  const folder = buildKind(kind.sanitize);
  if (folder)
    checks.unshift(...checksOf(kind, folder)); // the slow ones first, so that no core idles at the end
  else tally.fail(`build of ${kind.name}`);
}
if (checks.length > 0) {
  const most = Math.max(...kinds.map(({ flops }) => flops));
  const args = ['dist-test/test/ops/writeSamples.js', samples, String(most)];
  await tally.check('writing the samples', () => start('node', args));
}
await tally.checkAll(checks);
tally.end();
