// Builds the addon with node-gyp, again only what changed, and writes what was built to build/built.json.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missingTools, variants } from './compiler.mjs';
import { decideCuda } from './cuda.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Builds build/Release/heddle.node.
 * @returns {string} one line saying what was built
 * @throws {Error} with what is missing and how to get it
 */
export function buildNative(env = process.env) {
  const missing = missingTools(env);
  if (missing.length > 0) throw new Error(`cannot build the addon\n  ${missing.join('\n  ')}`);

  let cuda = decideCuda({ env });
  let built = nodeGyp(env);
  if (!built && cuda.build && env.HEDDLE_CUDA !== '1') {
    // Nobody asked for CUDA by name: an nvcc that does not get on with this compiler must not cost the CPU backend.
    cuda = {
      build: false,
      tried: cuda.tried,
      reason: `nvcc ${cuda.version} failed (its messages stand above), CPU only`,
    };
    built = nodeGyp({ ...env, HEDDLE_CUDA: '0' });
  }
  if (!built) throw new Error('the addon did not compile: the first error above says why');
  const loaded = spawnSync(process.execPath, ['-e', 'require("./build/Release/heddle.node")'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (loaded.status !== 0) {
    const said =
      loaded.stderr.split('\n').find((line) => line.startsWith('Error')) ?? loaded.signal ?? loaded.stderr;
    throw new Error(`the addon was built but does not load: ${said}`);
  }

  const kernels = variants(env);
  const summary = `heddle: CPU kernels (${kernels.join(', ')}); CUDA: ${cuda.reason}`;
  const { build, reason, tried, nvcc, version, targets } = cuda;
  const record = {
    summary,
    variants: kernels,
    cuda: { built: build, reason, tried, nvcc, version, targets },
  };
  writeFileSync(join(root, 'build', 'built.json'), `${JSON.stringify(record, null, 2)}\n`);
  return summary;
}

function nodeGyp(env) {
  const args = [
    findNodeGyp(env),
    'configure',
    'build',
    '--loglevel=warn',
    `--jobs=${env.JOBS || availableParallelism()}`,
  ];
  const headers = nodePrefix();
  if (headers) args.push(`--nodedir=${headers}`);
  // binding.gyp calls `node`: let it be this one.
  const path = [dirname(process.execPath), env.PATH].filter(Boolean).join(delimiter);
  return (
    spawnSync(process.execPath, args, { cwd: root, env: { ...env, PATH: path }, stdio: 'inherit' }).status ===
    0
  );
}

/** npm's own node-gyp where npm runs this; else the development dependency, else that of the npm beside Node. */
function findNodeGyp(env) {
  const inNpm = (npm) => join(npm, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  let pinned = '';
  try {
    pinned = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    // not installed, as with --omit=dev
  }
  const candidates = [
    env.npm_config_node_gyp,
    env.npm_execpath && inNpm(join(dirname(env.npm_execpath), '..')),
    pinned,
    inNpm(join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm')),
  ];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error('node-gyp not found; run npm install, which brings its own');
  return found;
}

/** The folder above Node's include/node where this very version left its headers; else node-gyp downloads them. */
function nodePrefix() {
  const prefix = join(dirname(realpathSync(process.execPath)), '..');
  const header = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return undefined;
  const text = readFileSync(header, 'utf8');
  const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const version = ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  return version === process.versions.node ? prefix : undefined;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(buildNative());
  } catch (error) {
    console.error(`heddle: ${error.message}`);
    process.exitCode = 1;
  }
}
