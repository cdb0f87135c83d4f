// The C++ tool chain: what has to be there, and the instruction-set variants that the compiler can build.
// `node scripts/compiler.mjs variants` and `targets` print lists for binding.gyp.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// The one source list, which binding.gyp includes and CMakeLists.txt reads.
export const sources = JSON.parse(
  readFileSync(new URL('../native/sources.json', import.meta.url), 'utf8'),
).variables;

function compile(env, flags, input) {
  const [command, ...first] = (env.CXX || (process.platform === 'darwin' ? 'clang++' : 'g++')).split(/\s+/);
  const args = [...first, ...flags, '-x', 'c++', '-fsyntax-only', '-'];
  return { command, ...spawnSync(command, args, { env, input, encoding: 'utf8' }) };
}

/** The variants among native/sources.json's that the compiler takes the flags of, baseline first. */
export function variants(env = process.env, architecture = process.arch) {
  const known = sources[`variants_${architecture}`] ?? ['baseline'];
  return known.filter((variant) => compile(env, sources[`flags_${variant}`], '').status === 0);
}

const INSTALL = {
  compiler:
    'apt-get install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), xcode-select --install (macOS)',
  make: 'apt-get install make (Debian, Ubuntu), dnf install make (Fedora), xcode-select --install (macOS)',
  python:
    'apt-get install python3 (Debian, Ubuntu), dnf install python3 (Fedora), xcode-select --install (macOS)',
};

/** One sentence for each thing missing that the build needs: a C++17 compiler, make, Python 3. */
export function missingTools(env = process.env) {
  const missing = [];
  const runs = (command, ...args) => spawnSync(command, args, { env, encoding: 'utf8' }).status === 0;

  const compiled = compile(
    env,
    ['-std=c++17'],
    '#include <thread>\nint main() { if constexpr (true) return 0; }\n',
  );
  if (compiled.status === null)
    missing.push(`no C++ compiler: ${compiled.command} does not run; ${INSTALL.compiler}`);
  else if (compiled.status !== 0)
    missing.push(
      `${compiled.command} does not compile a C++17 program: ${firstLine(compiled.stderr) || `exit code ${compiled.status}`}; ${INSTALL.compiler}`,
    );

  const make = env.MAKE || 'make';
  if (!runs(make, '--version')) missing.push(`no make: ${make} does not run; ${INSTALL.make}`);

  const python = env.NODE_GYP_FORCE_PYTHON || env.npm_config_python || env.PYTHON;
  const pythons = [python, 'python3', 'python'].filter(Boolean);
  if (!pythons.some((name) => runs(name, '-c', 'import sys; sys.exit(sys.version_info < (3, 8))')))
    missing.push(
      `no Python 3.8 or newer, which node-gyp needs: tried ${pythons.join(', ')}; ${INSTALL.python}`,
    );
  return missing;
}

/** The first line of a program's output that says anything. */
export function firstLine(text) {
  return (
    (text ?? '')
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim() ?? ''
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const asked = process.argv[2];
  for (const variant of variants()) console.log(asked === 'targets' ? `kernels_${variant}` : variant);
}
