// What the build decides: compilers, instruction sets, CUDA; and that the source list and the binary are sound.

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, posix } from 'node:path';
import test from 'ava';

interface Decision {
  build: boolean;
  reason: string;
  tried: { path: string; problem: string }[];
  nvcc?: string;
  library?: string;
  targets?: string[];
  flags?: string[];
  folder?: string;
}
interface Options {
  env: Record<string, string>;
  toolkits: string[];
}
const scripts = new URL('../../scripts/', import.meta.url);
const { decideCuda } = (await import(new URL('cuda.mjs', scripts).href)) as {
  decideCuda(options: Options): Decision;
};
const { missingTools, sources, variants } = (await import(new URL('compiler.mjs', scripts).href)) as {
  missingTools(env: Record<string, string>): string[];
  sources: Record<string, string[]>;
  variants(env: Record<string, string>, architecture: string): string[];
};

const folder = () => mkdtempSync(join(tmpdir(), 'heddle-build-'));

function program(path: string, body: string): void {
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
}

/** A toolkit whose nvcc answers what is asked of it. Returns its folder. */
function toolkit({ release = '13.0', codes = 'sm_75 sm_80 sm_86 sm_89 sm_90', library = true } = {}): string {
  const home = folder();
  for (const name of ['bin', 'include', 'lib64']) mkdirSync(join(home, name));
  writeFileSync(join(home, 'include', 'cuda_runtime_api.h'), '');
  if (library) writeFileSync(join(home, 'lib64', 'libcudart_static.a'), '');
  const answers = [
    `--version) echo "Cuda compilation tools, release ${release}, V${release}.88" ;;`,
    `--list-gpu-code) for code in ${codes}; do echo $code; done ;;`,
    `--dryrun) echo "#$ TOP=${home}" >&2 ;;`,
  ];
  program(join(home, 'bin', 'nvcc'), `case "$1" in\n${answers.join('\n')}\nesac`);
  return home;
}

/** A folder for PATH with an nvidia-smi that shows GPUs of these compute capabilities. */
function gpus(...capabilities: string[]): string {
  const path = folder();
  program(join(path, 'nvidia-smi'), capabilities.map((each) => `echo ${each}`).join('\n'));
  return path;
}

const bin = (home: string) => join(home, 'bin');
const path = (...folders: string[]) => folders.join(delimiter);
const decide = (env: Record<string, string>, toolkits: string[] = []) => decideCuda({ env, toolkits });
const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux('HEDDLE_CUDA=0 wins over targets, a toolkit and a GPU', (t) => {
  const env = { HEDDLE_CUDA: '0', HEDDLE_CUDA_ARCHS: 'sm_90a', PATH: path(bin(toolkit()), gpus('9.0')) };
  t.like(decide(env), { build: false, reason: 'HEDDLE_CUDA=0, CPU only' });
  t.throws(() => decide({ ...env, HEDDLE_CUDA: 'yes' }), {
    message: 'HEDDLE_CUDA: expected 0 or 1, got yes',
  });
});

onLinux('no nvcc: CPU only, and an error for those who asked for CUDA', (t) => {
  t.deepEqual(decide({ PATH: folder() }), { build: false, reason: 'nvcc not found, CPU only', tried: [] });
  t.throws(() => decide({ PATH: folder(), HEDDLE_CUDA: '1' }), {
    message: /^HEDDLE_CUDA=1, but nvcc not found/,
  });
});

onLinux('an nvcc that does not run does not end the search', (t) => {
  const broken = folder();
  program(join(broken, 'nvcc'), 'echo "nvcc: cannot find its toolkit" >&2; exit 1');
  const noLibrary = toolkit({ library: false });
  const good = toolkit();
  const decision = decide({ PATH: path(broken, bin(noLibrary), gpus('9.0')) }, [good]);
  t.true(decision.build);
  t.is(decision.nvcc, join(good, 'bin', 'nvcc'));
  t.is(decision.library, join(good, 'lib64'));
  t.deepEqual(decision.tried, [
    { path: join(broken, 'nvcc'), problem: 'nvcc: cannot find its toolkit' },
    { path: join(noLibrary, 'bin', 'nvcc'), problem: `no libcudart_static.a under ${noLibrary}` },
  ]);

  const alone = decide({ PATH: broken });
  t.false(alone.build);
  t.is(alone.reason, `no nvcc that can be used (${broken}/nvcc: nvcc: cannot find its toolkit), CPU only`);
});

onLinux('CUDA_HOME comes before PATH, PATH before the usual folders', (t) => {
  const [home, onPath, usual] = [toolkit(), toolkit(), toolkit()];
  const env = { HEDDLE_CUDA: '1', PATH: bin(onPath) };
  t.is(decide({ ...env, CUDA_HOME: home }, [usual]).nvcc, join(home, 'bin', 'nvcc'));
  t.is(decide(env, [usual]).nvcc, join(onPath, 'bin', 'nvcc'));
  t.is(decide({ HEDDLE_CUDA: '1', PATH: '' }, [usual]).nvcc, join(usual, 'bin', 'nvcc'));
});

onLinux('by default CUDA is built for the GPUs that are present', (t) => {
  const home = toolkit();
  const here = (...capabilities: string[]) => decide({ PATH: path(gpus(...capabilities)) }, [home]);
  t.like(here(), {
    build: false,
    reason: 'nvcc 13.0 found but no GPU; HEDDLE_CUDA=1 npm install builds the kernels',
  });
  t.deepEqual(here('9.0').targets, ['sm_90a']);
  t.deepEqual(here('8.6', '8.6').targets, ['sm_86']);
  t.deepEqual(here('9.0', '8.9').targets, ['sm_89', 'sm_90a']);
  t.deepEqual(here('7.5', '8.0').targets, ['sm_80']);
  t.is(here('7.5').reason, 'this GPU is older than sm_80 (compute capability 7.5), CPU only');
  t.is(here('12.0').reason, 'nvcc 13.0 has no target for this GPU (compute capability 12), CPU only');
  t.is(here('9.0').reason, 'nvcc 13.0, sm_90a');
});

onLinux('HEDDLE_CUDA=1 builds sm_80, sm_90a and PTX without a GPU; HEDDLE_CUDA_ARCHS says otherwise', (t) => {
  const home = toolkit();
  const asked = (archs?: string) =>
    decide({ HEDDLE_CUDA: '1', PATH: '', ...(archs ? { HEDDLE_CUDA_ARCHS: archs } : {}) }, [home]);
  const targetsOf = ({ flags }: Decision) => flags!.filter((flag) => flag.startsWith('-gencode'));
  t.is(asked().reason, 'nvcc 13.0, sm_80 sm_90a and PTX');
  t.deepEqual(targetsOf(asked()), [
    '-gencode=arch=compute_80,code=[sm_80,compute_80]',
    '-gencode=arch=compute_90a,code=sm_90a',
  ]);
  t.deepEqual(targetsOf(asked('SM_90a, ptx')), [
    '-gencode=arch=compute_90a,code=sm_90a',
    '-gencode=arch=compute_90,code=compute_90',
  ]);
  t.deepEqual(targetsOf(asked('sm_86')), ['-gencode=arch=compute_86,code=sm_86']);
  t.deepEqual(decide({ HEDDLE_CUDA_ARCHS: 'sm_86', PATH: '' }, [home]).targets, ['sm_86']);
  t.not(asked('sm_86').folder, asked().folder);
  t.throws(() => asked('hopper'), {
    message: 'HEDDLE_CUDA_ARCHS: expected targets such as sm_80,sm_90a,ptx, got hopper',
  });
  t.throws(() => asked('sm_75'), {
    message: 'HEDDLE_CUDA_ARCHS: the kernels need sm_80 or newer, got sm_75',
  });
  t.throws(() => asked('sm_120a'), { message: /^nvcc 13\.0 builds none of sm_120a; it has sm_75 / });
});

onLinux('older toolkits are not given flags they do not know', (t) => {
  const flags = (release: string) => decide({ HEDDLE_CUDA: '1', PATH: '' }, [toolkit({ release })]).flags!;
  t.true(flags('12.8').includes('--compress-mode=size'));
  t.false(flags('12.4').includes('--compress-mode=size'));
});

test('every tool that is missing is named with the way to get it', (t) => {
  const missing = missingTools({ PATH: folder() });
  t.is(missing.length, 3);
  t.regex(missing[0], /no C\+\+ compiler: .* does not run; apt-get install g\+\+/);
  t.regex(missing[1], /no make/);
  t.regex(missing[2], /no Python 3\.8 or newer/);
  t.deepEqual(missingTools(process.env as Record<string, string>), []);
});

test('a variant whose flags the compiler refuses is left out', (t) => {
  const compiler = join(folder(), 'compiler');
  program(compiler, 'case "$*" in *avx512f*) echo "unknown option" >&2; exit 1 ;; esac');
  t.deepEqual(variants({ CXX: compiler }, 'x64'), ['baseline', 'avx2']);
  t.deepEqual(variants({ CXX: compiler }, 'arm64'), ['baseline', 'neon']);
  t.deepEqual(variants({ CXX: compiler }, 'riscv64'), ['baseline']);
});

test('native/sources.json names every source, and every header that CUDA kernels include', (t) => {
  const filesIn = (where: string) =>
    readdirSync(where, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${where}/${entry.name}`);
  const files = ['native', 'native/cpu', 'native/cuda'].flatMap(filesIn);
  const listed = (suffix: RegExp) =>
    Object.entries(sources).flatMap(([name, list]) => (suffix.test(name) ? list : []));
  const named = listed(/_sources(_|$)/);
  t.deepEqual(
    named.filter((file) => ![...files, ...filesIn('test/native/simt')].includes(file)),
    [],
    'named, but not there',
  );
  t.deepEqual(
    files.filter((file) => /\.(cc|cu)$/.test(file) && !named.includes(file)),
    [],
    'not named',
  );
  // A variant of its own list compiles again what others do.
  const once = listed(/_sources$/);
  t.is(new Set(once).size, once.length);

  const included = new Set<string>();
  const follow = (file: string) => {
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/^#include "(.+)"/gm)) {
      const header = posix.join(posix.dirname(file), name);
      // The emulator's header lies elsewhere, and nvcc never sees it.
      if (included.has(header) || header === 'native/cuda/simt.h') continue;
      included.add(header);
      follow(header);
    }
  };
  sources.cuda_sources.forEach(follow);
  t.deepEqual([...included].sort(), [...sources.cuda_headers].sort(), 'headers that .cu files include');
});

// An instantiation of a std:: template is a weak symbol: the linker keeps one for all, perhaps the AVX-512 one.
test('kernel variants share no weak symbol with each other or with the host code', (t) => {
  const archives = existsSync('build/Release')
    ? readdirSync('build/Release').filter((file) => /^kernels_\w+\.a$/.test(file))
    : [];
  t.true(archives.includes('kernels_baseline.a'), 'npm run build:native comes first');
  for (const archive of archives) {
    const variant = archive.slice('kernels_'.length, -'.a'.length);
    const symbols = execFileSync('nm', ['-C', '--defined-only', join('build/Release', archive)], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    const weak = symbols.split('\n').filter((line) => /^[0-9a-f]+ [uvVwW] /.test(line));
    t.deepEqual(
      weak.filter((line) => !line.includes(`heddle::cpu::${variant}::`)),
      [],
      archive,
    );
  }
});
