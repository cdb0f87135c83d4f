// Makes gpu-bundle/: what a Linux machine with a GPU, but without Node, network or compiler, needs to test and measure Heddle.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const CUDA_TARGET = 'sm_90a';
const SAMPLE_BYTES = 1_000_000; // of text8

const USAGE = `npm run gpu:bundle -- [options]

  --out FOLDER     what to make; replaced where it holds an older bundle. Default gpu-bundle
  --addon FILE     an addon to take; default: one built with CUDA for ${CUDA_TARGET} into build-cmake/gpu (needs cmake and nvcc)
  --text8 FILE     text8, plain or as a .zip; default HEDDLE_TEXT8, else ../shared/data/text8-11.5M.zip where it is there.
                   Its first ${SAMPLE_BYTES.toLocaleString('en')} bytes go along
  --megabytes N    most that the bundle may take, in millions of bytes; default 60
  --level N        of xz, 0 (fast) to 9 (small); default 9
  --help           this text

The TypeScript is taken as compiled: npm run build:test. On the other machine: sh gpu-bundle/run.sh --help`;

class BundleError extends Error {}

function options() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        out: { type: 'string', default: 'gpu-bundle' },
        addon: { type: 'string' },
        text8: { type: 'string' },
        megabytes: { type: 'string', default: '60' },
        level: { type: 'string', default: '9' },
        help: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    throw new BundleError(`${error.message}; see --help`);
  }
  const { megabytes, level } = values;
  if (!(Number(megabytes) > 0))
    throw new BundleError(`--megabytes: expected a number above 0, got ${megabytes}`);
  if (!/^\d$/.test(level)) throw new BundleError(`--level: expected 0 to 9, got ${level}`);
  return values;
}

/** Runs a program to its end and returns what it wrote. */
function run(command, args, { purpose, ...rest }) {
  const ended = spawnSync(command, args, { cwd: root, maxBuffer: 2 ** 30, ...rest });
  if (ended.error) throw new BundleError(`${purpose} needs ${command}: ${ended.error.code}; install it`);
  if (ended.status !== 0)
    throw new BundleError(`${purpose} failed: ${command} ended with ${ended.signal ?? ended.status}`);
  return ended.stdout;
}

/** The addon with CUDA in a build folder of its own, so that build/Release stays as it is; only what changed is compiled. */
function buildAddon() {
  const folder = join('build-cmake', 'gpu');
  const env = { ...process.env, HEDDLE_CUDA: '1', HEDDLE_CUDA_ARCHS: CUDA_TARGET };
  const purpose = `the addon for ${CUDA_TARGET} (--addon takes another)`;
  const show = { purpose, env, stdio: ['ignore', 'inherit', 'inherit'] };
  // The other machine's libstdc++ may be older than this one's.
  const flags = '-DCMAKE_MODULE_LINKER_FLAGS=-static-libstdc++ -static-libgcc';
  run('cmake', ['-S', '.', '-B', folder, '--log-level=NOTICE', '-DHEDDLE_TESTS=OFF', flags], show);
  run('cmake', ['--build', folder, '--parallel', process.env.JOBS || '1'], show);
  return join(root, folder, 'heddle.node');
}

/** Folders of packages and of all that they depend on, found as Node finds them: upwards from who asks. */
function packageFolders(names) {
  const found = new Set();
  const visit = (name, from, isOptional) => {
    for (let folder = from; ; folder = dirname(folder)) {
      const candidate = join(folder, 'node_modules', name);
      if (existsSync(join(candidate, 'package.json'))) {
        if (found.has(candidate)) return;
        found.add(candidate);
        const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
          readFileSync(join(candidate, 'package.json'), 'utf8'),
        );
        for (const each of Object.keys(dependencies)) visit(each, candidate, each in optionalDependencies);
        for (const each of Object.keys(optionalDependencies)) visit(each, candidate, true);
        return;
      }
      if (folder === dirname(folder)) break;
    }
    if (!isOptional)
      throw new BundleError(
        `expected the package ${name} above ${from}, but it is not there; run npm install`,
      );
  };
  for (const name of names) visit(name, root.replace(/[/\\]$/, ''), false);
  return [...found];
}

// Nested packages have an entry of their own; maps, types and sources of TypeScript are of no use at run time.
const isOfUse = (file) => !/\.(map|md|markdown|c?ts|mts|flow)$/i.test(file) && !/[/\\]\.[^/\\]+$/.test(file);

function copyPackages(to) {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  // The headers of node-addon-api serve the build only.
  const atRunTime = Object.keys(dependencies).filter((name) => name !== 'node-addon-api');
  const folders = packageFolders([...atRunTime, 'ava']);
  for (const folder of folders) {
    const inner = join(folder, 'node_modules');
    cpSync(folder, join(to, relative(root, folder)), {
      recursive: true,
      dereference: true,
      filter: (file) => file !== inner && isOfUse(file),
    });
  }
  return folders.length;
}

/** What the stages run: benchmarks, and tests of kernels, models, sessions and training with what they import. */
function copyTests(to) {
  const from = join(root, 'dist-test');
  const folders = [
    'bench',
    'test/ops',
    'test/models',
    'test/runtime',
    'test/train',
    'test/reference',
    'test/compile',
  ];
  for (const folder of folders)
    cpSync(join(from, folder), join(to, 'dist-test', folder), { recursive: true, filter: isOfUse });
  copyFileSync(join(from, 'test', 'device.js'), join(to, 'dist-test', 'test', 'device.js'));
  cpSync(join(root, 'test', 'fixtures'), join(to, 'test', 'fixtures'), {
    recursive: true,
    filter: (file) => !file.endsWith('.py'),
  });
  cpSync(join(root, 'bench', 'peers', 'torch'), join(to, 'bench', 'peers', 'torch'), {
    recursive: true,
    filter: (file) => !file.includes('__pycache__'),
  });
}

/** The first bytes of text8, or undefined where it is not at hand; a file that was asked for has to be there. */
async function sampleOfText8(asked) {
  const path = asked ?? process.env.HEDDLE_TEXT8 ?? resolve(root, '../shared/data/text8-11.5M.zip');
  if (!existsSync(path)) {
    if (asked ?? process.env.HEDDLE_TEXT8)
      throw new BundleError(
        `expected text8 in ${path}, but there is no such file; give --text8 or unset HEDDLE_TEXT8`,
      );
    return undefined;
  }
  const { openCorpus } = await import(new URL('../dist/data/corpora.js', import.meta.url).href);
  const { documents } = await openCorpus(path);
  let text = '';
  for await (const piece of documents[0].pieces()) {
    text += piece;
    if (text.length >= SAMPLE_BYTES) break;
  }
  return Buffer.from(text).subarray(0, SAMPLE_BYTES);
}

const compress = (level, input) =>
  run('xz', [`-${level}`, '-T1', '-c'], {
    purpose: 'compressing',
    input,
    env: { ...process.env, XZ_OPT: '' },
  });

/** An archive that depends on nothing but the files: no dates, no owners, one order. */
function archive(folder, level) {
  const args = [
    '--sort=name',
    '--mtime=@0',
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '-cf',
    '-',
    '-C',
    folder,
    '.',
  ];
  return compress(level, run('tar', args, { purpose: 'archiving' }));
}

function sizeOf(path) {
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

function print(rows) {
  for (const [name, bytes, what] of rows)
    console.log(`  ${name.padEnd(26)}${(bytes / 1e6).toFixed(1).padStart(7)} MB  ${what}`);
}

/** An older bundle may go; anything else was not made here. */
function emptyFolder(out) {
  const isBundle = existsSync(join(out, 'identity')) && existsSync(join(out, 'run.sh'));
  if (existsSync(out) && !isBundle && readdirSync(out).length > 0)
    throw new BundleError(`--out: expected a bundle, an empty folder or none, but ${out} holds other files`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
}

async function main() {
  const { out: given, addon: givenAddon, text8, megabytes, level, help } = options();
  if (help) return console.log(USAGE);
  if (process.platform !== 'linux')
    throw new BundleError(
      `a bundle takes this machine's Node and addon along: expected linux, got ${process.platform}`,
    );
  for (const file of ['dist/index.js', 'dist-test/bench/gpu/main.js'])
    if (!existsSync(join(root, file)))
      throw new BundleError(`expected ${file}, but it is not there; run npm run build:test`);
  const out = resolve(given);
  const addon = givenAddon ? resolve(givenAddon) : buildAddon();
  if (!existsSync(addon)) throw new BundleError(`expected an addon in ${addon}, but there is no such file`);

  const project = mkdtempSync(join(tmpdir(), 'heddle-bundle-'));
  try {
    emptyFolder(out);
    for (const file of ['package.json', 'ava.config.js', 'LICENSE'])
      copyFileSync(join(root, file), join(project, file));
    cpSync(join(root, 'dist'), join(project, 'dist'), { recursive: true, filter: isOfUse });
    copyTests(project);
    const packages = copyPackages(project);
    mkdirSync(join(project, 'build', 'Release'), { recursive: true });
    copyFileSync(addon, join(project, 'build', 'Release', 'heddle.node'));
    const sample = await sampleOfText8(text8);
    if (sample) writeFileSync(join(project, 'text8-sample.txt'), sample);

    const parts = {
      'node.xz': compress(level, readFileSync(process.execPath)),
      'project.tar.xz': archive(project, level),
    };
    const hash = createHash('sha256');
    for (const [name, content] of Object.entries(parts)) {
      writeFileSync(join(out, name), content);
      hash.update(content);
    }
    writeFileSync(join(out, 'identity'), `${hash.digest('hex').slice(0, 16)}\n`);
    writeFileSync(
      join(out, 'platform'),
      run('uname', ['-sm'], { purpose: 'naming the platform' }).toString().replace(' ', '-'),
    );
    copyFileSync(join(root, 'bench', 'gpu', 'run.sh'), join(out, 'run.sh'));
    chmodSync(join(out, 'run.sh'), 0o755);

    const size = (path) => sizeOf(join(project, path));
    console.log(`${relative(process.cwd(), out) || out}${sep}, compressed:`);
    print([
      ['node.xz', parts['node.xz'].length, `Node ${process.version}`],
      ['project.tar.xz', parts['project.tar.xz'].length, 'all of the following'],
    ]);
    console.log('unpacked:');
    print([
      ['build/Release/heddle.node', size('build'), addon],
      ['dist', size('dist'), 'the library'],
      ['dist-test', size('dist-test'), 'tests and benchmarks'],
      ['test/fixtures', size('test'), 'results of PyTorch'],
      ['bench/peers/torch', size('bench'), 'the peer'],
      ['node_modules', size('node_modules'), `${packages} packages`],
      [
        'text8-sample.txt',
        sample?.length ?? 0,
        sample ? 'the first bytes of text8' : 'not at hand (--text8)',
      ],
    ]);
    const total = sizeOf(out);
    console.log(
      `${(total / 1e6).toFixed(1)} MB of at most ${megabytes}; run it with: sh ${relative(process.cwd(), join(out, 'run.sh'))}`,
    );
    if (total > Number(megabytes) * 1e6)
      throw new BundleError(
        `expected at most ${megabytes} MB, but the bundle takes ${(total / 1e6).toFixed(1)}; take --level 9 or a smaller addon`,
      );
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BundleError)) throw error;
  console.error(`gpu-bundle: ${error.message}`);
  process.exitCode = 1;
}
