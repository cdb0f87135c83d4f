// Builds test/native/*.cc with the native sources and runs them: once with the address and undefined-behaviour
// sanitizers, once with the thread sanitizer.
// One instruction set is enough here (HEDDLE_TEST_ISAS): the sources are the same, and the AVA tests run them all.
import { existsSync, readdirSync } from 'node:fs';
import { join, parse } from 'node:path';
import { sources } from './compiler.mjs';
import { build, isCmakeInstalled, root, startProgram, Tally } from './native-programs.mjs';

const KINDS = [
  { name: 'address', sanitize: 'address,undefined' },
  { name: 'thread', sanitize: 'thread' },
];
const TEST_SECONDS = 300;

const stems = readdirSync(join(root, 'test', 'native'))
  .filter((file) => file.endsWith('.cc'))
  .map((file) => parse(file).name)
  .sort();

if (!isCmakeInstalled()) {
  console.log('native tests: skipped, cmake is not installed');
  process.exit(0);
}
const unwritten = [...sources.host_sources, ...sources.kernel_sources].filter(
  (file) => !existsSync(join(root, file)),
);
if (unwritten.length > 0)
  throw new Error(`native/sources.json names files that are not there: ${unwritten.join(', ')}`);

const tally = new Tally('native tests');
for (const { name, sanitize } of KINDS) {
  const isas = process.env.HEDDLE_TEST_ISAS || 'baseline';
  const options = [`-DHEDDLE_SANITIZE=${sanitize}`, `-DHEDDLE_TEST_ISAS=${isas}`, '-DHEDDLE_ADDON=OFF'];
  const folder = build(name, options);
  if (!folder) {
    tally.fail(`build with -fsanitize=${sanitize}`);
    continue;
  }
  for (const stem of stems) {
    const program = join(folder, 'test-native', stem);
    await tally.check(`${stem} (${name})`, () => startProgram(program, [], { seconds: TEST_SECONDS }));
  }
}
tally.end();
