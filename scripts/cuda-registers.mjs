// Compiles the CUDA kernels for the default targets and shows what ptxas says of each: registers, shared memory, spilled
// bytes. Fails where a kernel spills more than it may: nothing in attention, but 64 bytes to heads of 128; elsewhere the word or two
// that ptxas puts aside for one more block on a multiprocessor.
//
//   npm run cuda:registers [-- FILE...]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { sources } from './compiler.mjs';
import { decideCuda } from './cuda.mjs';
import { root } from './native-programs.mjs';

const MOST_SPILLED = [
  { pattern: /(attend|differentiate).*Li128E/, bytes: 64 },
  { pattern: /attend|differentiate/, bytes: 0 },
  { pattern: /./, bytes: 8 },
];

const { nvcc, flags, reason } = decideCuda({ env: { ...process.env, HEDDLE_CUDA: '1' } });
console.log(`CUDA: ${reason}`);
const folder = mkdtempSync(join(tmpdir(), 'heddle-registers-'));
const given = process.argv.slice(2);
const rows = [];
let failed = false;
for (const source of given.length > 0 ? given : sources.cuda_sources) {
  const object = join(folder, `${basename(source)}.o`);
  const args = [...flags, '-Xptxas', '-v', '-c', source, '-o', object];
  const { status, stderr } = spawnSync(nvcc, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) {
    console.error(stderr);
    process.exit(1);
  }
  const pattern =
    /Compiling entry function '(\S+)' for '(\S+)'[\s\S]*?(\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers[^\n]*/g;
  for (const [line, name, target, stores, loads, registers] of stderr.matchAll(pattern)) {
    const shared = /(\d+) bytes smem/.exec(line)?.[1] ?? '0';
    const spilled = Math.max(Number(stores), Number(loads));
    const isBad = spilled > MOST_SPILLED.find((limit) => limit.pattern.test(name)).bytes;
    failed ||= isBad;
    rows.push([plain(name), target, registers, shared, `${spilled}${isBad ? ' TOO MANY' : ''}`]);
  }
}
rmSync(folder, { recursive: true });
const widths = rows.reduce(
  (most, row) => row.map((cell, i) => Math.max(cell.length, most[i])),
  [6, 6, 9, 6, 7],
);
for (const row of [['kernel', 'target', 'registers', 'shared', 'spilled'], ...rows])
  console.log(
    row
      .map((cell, i) => cell.padEnd(widths[i]))
      .join('  ')
      .trimEnd(),
  );
process.exitCode = failed ? 1 : 0;

/** What can be read of a mangled name: the function and its template arguments that are numbers. */
function plain(mangled) {
  const names = [];
  for (let rest = mangled.replace(/^_ZN/, ''); /^\d/.test(rest); ) {
    const [digits] = /^\d+/.exec(rest);
    names.push(rest.slice(digits.length, digits.length + Number(digits)));
    rest = rest.slice(digits.length + Number(digits));
    if (!/^\d/.test(rest)) {
      const numbers = [...rest.matchAll(/L[a-z](\d+)E|L[^E]*?(\d+)E/g)].map((match) => match[1] ?? match[2]);
      const own = names.filter(
        (name) => !name.startsWith('_GLOBAL__') && name !== 'heddle' && name !== 'cuda',
      );
      return `${own.join('::')}${numbers.length > 0 ? `<${numbers.join(', ')}>` : ''}`;
    }
  }
  return mangled;
}
