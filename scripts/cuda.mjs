// Decides for binding.gyp and CMakeLists.txt alike whether CUDA kernels are built, by which nvcc and for which targets.
//
//   HEDDLE_CUDA=0        never; wins over everything
//   HEDDLE_CUDA=1        for HEDDLE_CUDA_ARCHS, by default sm_80, sm_90a and PTX; fails where that is impossible
//   HEDDLE_CUDA_ARCHS    targets such as "sm_80,sm_90a,ptx"; PTX, of the oldest, runs on newer GPUs
//   neither              for the GPUs of this machine, and not at all where there is none
//
// `node scripts/cuda.mjs` reports the decision, `node scripts/cuda.mjs FIELD` prints one field of it, `json` all.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstLine } from './compiler.mjs';

const OLDEST = 80; // bf16 tensor cores and cp.async begin with sm_80
const DEFAULT_TARGETS = 'sm_80,sm_90a,ptx';
const byNumber = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/**
 * @typedef {object} Decision
 * @property {boolean} build
 * @property {string} reason what is built, or why nothing is: the end of the line "CUDA: …"
 * @property {{ path: string, problem: string }[]} tried the nvccs that were found and cannot be used
 * @property {string} [nvcc]
 * @property {string} [version] of the toolkit, such as "13.0"
 * @property {string} [include] folder of cuda_runtime_api.h
 * @property {string} [library] folder of libcudart_static.a
 * @property {string[]} [targets] such as ["sm_80", "sm_90a", "PTX"]
 * @property {string[]} [flags] for nvcc
 * @property {string} [folder] name for the folder of the objects: another toolkit or other targets, other objects
 */

/**
 * @param {object} [options]
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {string[]} [options.toolkits] folders of toolkits to try after CUDA_HOME, CUDA_PATH and PATH
 * @returns {Decision}
 * @throws {Error} where HEDDLE_CUDA=1 or HEDDLE_CUDA_ARCHS asks for what cannot be had
 */
export function decideCuda({ env = process.env, toolkits = installedToolkits() } = {}) {
  const none = (reason, tried = []) => ({ build: false, reason, tried });
  const { HEDDLE_CUDA: asked = '', HEDDLE_CUDA_ARCHS: archs = '' } = env;
  if (!['', '0', '1'].includes(asked)) throw new Error(`HEDDLE_CUDA: expected 0 or 1, got ${asked}`);
  if (asked === '0') return none('HEDDLE_CUDA=0, CPU only');
  if (process.platform !== 'linux') {
    if (asked === '1')
      throw new Error(`HEDDLE_CUDA=1, but CUDA is built on Linux only, and this is ${process.platform}`);
    return none(`not available on ${process.platform}, CPU only`);
  }

  const { toolkit, tried } = findToolkit(env, toolkits);
  if (!toolkit) {
    const attempts = tried.map(({ path, problem }) => `${path}: ${problem}`).join('; ');
    const missing = attempts ? `no nvcc that can be used (${attempts})` : 'nvcc not found';
    if (asked === '1')
      throw new Error(`HEDDLE_CUDA=1, but ${missing}; set CUDA_HOME to the toolkit's folder`);
    return none(`${missing}, CPU only`, tried);
  }

  const name = `nvcc ${toolkit.version}`;
  if (asked === '1' || archs !== '')
    return forTargets(parseTargets(archs || DEFAULT_TARGETS), toolkit, tried);
  const present = presentGpus(env, toolkit);
  if (present.length === 0)
    return none(`${name} found but no GPU; HEDDLE_CUDA=1 npm install builds the kernels`, tried);
  const usable = present.map(targetFor).filter((target) => isBuildable(target, toolkit));
  if (usable.length > 0) return forTargets([...new Set(usable)], toolkit, tried);
  const newest = present.some((capability) => capability >= OLDEST)
    ? `${name} has no target for this GPU`
    : `this GPU is older than sm_${OLDEST}`;
  return none(
    `${newest} (compute capability ${present.map((each) => each / 10).join(', ')}), CPU only`,
    tried,
  );
}

// The architecture-specific features (wgmma, TMA, tcgen05) exist from 9.0 on, for the exact GPU only.
const targetFor = (capability) => `sm_${capability}${capability >= 90 ? 'a' : ''}`;
const numberOf = (target) => Number.parseInt(target.slice('sm_'.length), 10);
const isBuildable = (target, { codes }) =>
  numberOf(target) >= OLDEST && codes.includes(`sm_${numberOf(target)}`);

function parseTargets(text) {
  const targets = text
    .split(/[\s,;]+/)
    .filter(Boolean)
    .map((each) => each.toLowerCase());
  for (const target of targets)
    if (!/^(ptx|sm_\d{2,3}[af]?)$/.test(target))
      throw new Error(`HEDDLE_CUDA_ARCHS: expected targets such as sm_80,sm_90a,ptx, got ${target}`);
  const old = targets.find((target) => numberOf(target) < OLDEST);
  if (old) throw new Error(`HEDDLE_CUDA_ARCHS: the kernels need sm_${OLDEST} or newer, got ${old}`);
  return targets;
}

function forTargets(asked, toolkit, tried) {
  const real = [...new Set(asked)]
    .filter((target) => target !== 'ptx' && isBuildable(target, toolkit))
    .sort(byNumber);
  if (real.length === 0)
    throw new Error(
      `nvcc ${toolkit.version} builds none of ${asked.join(', ')}; it has ${toolkit.codes.join(' ')}; set HEDDLE_CUDA_ARCHS`,
    );
  const ptx = asked.includes('ptx');
  const gencode = real.map((target) => {
    const virtual = target.replace('sm_', 'compute_');
    // One front-end pass serves a target and its PTX; that of an "a" target would run nowhere else.
    const both = ptx && target === real[0] && /\d$/.test(target);
    return `-gencode=arch=${virtual},code=${both ? `[${target},${virtual}]` : target}`;
  });
  const oldest = `compute_${numberOf(real[0])}`;
  if (ptx && !/\d$/.test(real[0])) gencode.push(`-gencode=arch=${oldest},code=${oldest}`);
  const flags = ['-std=c++17', '-O3', '-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra', ...gencode];
  if (byNumber(toolkit.version, '12.8') >= 0) flags.push('--compress-mode=size');
  const { nvcc, version, include, library } = toolkit;
  const reason = `nvcc ${version}, ${real.join(' ')}${ptx ? ' and PTX' : ''}`;
  const targets = ptx ? [...real, 'PTX'] : real;
  const folder = ['cuda', version, ...targets].join('-');
  return { build: true, reason, tried, nvcc, version, include, library, targets, flags, folder };
}

/** Toolkits in their usual folders, newest first. */
function installedToolkits() {
  const versioned = existsSync('/usr/local')
    ? readdirSync('/usr/local').filter((name) => /^cuda-\d/.test(name))
    : [];
  const newestFirst = versioned.sort(byNumber).reverse();
  return ['/usr/local/cuda', ...newestFirst.map((name) => `/usr/local/${name}`), '/opt/cuda'];
}

function findToolkit(env, toolkits) {
  const onPath = (env.PATH ?? '').split(delimiter).filter(Boolean);
  const folders = [env.CUDA_HOME, env.CUDA_PATH].filter(Boolean).map((home) => join(home, 'bin'));
  const candidates = [...folders, ...onPath, ...toolkits.map((home) => join(home, 'bin'))].map((dir) =>
    join(dir, 'nvcc'),
  );
  const tried = [];
  for (const path of new Set(candidates)) {
    if (!existsSync(path)) continue;
    const found = inspect(path, env);
    if (!found.problem) return { toolkit: found, tried };
    tried.push({ path, problem: found.problem });
  }
  return { tried };
}

// nvcc may be a wrapper far from its toolkit, so that it is asked where its headers and libraries are.
function inspect(nvcc, env) {
  const ask = (...args) => {
    const { status, error, stdout, stderr } = spawnSync(nvcc, args, {
      env,
      encoding: 'utf8',
      timeout: 30_000,
    });
    if (error) return { problem: error.code ?? error.message };
    if (status !== 0) return { problem: firstLine(stderr) || firstLine(stdout) || `exit code ${status}` };
    return { text: stdout + stderr };
  };
  const release = ask('--version');
  if (release.problem) return release;
  const version = /release (\d+\.\d+)/.exec(release.text)?.[1];
  if (!version) return { problem: '--version names no release' };
  const listed = ask('--list-gpu-code');
  if (listed.problem) return listed;
  const plan = ask('--dryrun', '-x', 'cu', '-c', '/dev/null', '-o', '/dev/null');
  if (plan.problem) return plan;

  const top = /TOP=(\S+)/.exec(plan.text)?.[1] ?? join(nvcc, '..', '..');
  const named = (option) =>
    [...plan.text.matchAll(new RegExp(`"${option}([^"]+)"`, 'g'))].map((match) => match[1]);
  const holding = (file, folders) => folders.find((folder) => existsSync(join(folder, file)));
  const include = holding('cuda_runtime_api.h', [...named('-I'), join(top, 'include')]);
  const library = holding('libcudart_static.a', [...named('-L'), join(top, 'lib64'), join(top, 'lib')]);
  if (!include) return { problem: `no cuda_runtime_api.h under ${top}` };
  if (!library) return { problem: `no libcudart_static.a under ${top}` };
  return { nvcc, version, include, library, top, codes: listed.text.match(/sm_\d+/g) ?? [] };
}

/** Compute capabilities of the GPUs here, times ten: [90] on a machine with an H200. */
function presentGpus(env, { top }) {
  const smi = spawnSync('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader'], {
    env,
    encoding: 'utf8',
  });
  const capabilities = smi.status === 0 ? smi.stdout.match(/\d+\.\d/g) : null;
  if (capabilities) return capabilities.map((each) => Math.round(Number(each) * 10));
  const query = spawnSync(join(top, 'bin', '__nvcc_device_query'), { env, encoding: 'utf8' });
  return query.status === 0 ? (query.stdout.match(/\d{2,3}/g) ?? []).map(Number) : [];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [field = 'report'] = process.argv.slice(2);
  try {
    const decision = decideCuda();
    if (field === 'json') console.log(JSON.stringify(decision, null, 2));
    else if (field !== 'report') console.log([decision[field] ?? ''].flat().join(' '));
    else {
      for (const { path, problem } of decision.tried) console.log(`${path}: ${problem}`);
      console.log(`CUDA: ${decision.reason}`);
    }
  } catch (error) {
    console.error(`heddle: ${error.message}`);
    process.exitCode = 1;
  }
}
