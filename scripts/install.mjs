// What `npm install` runs: the addon, then in a git checkout the TypeScript; ends with one line that says what was built.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

// A published package holds dist/ and no src/.
function buildTypeScript() {
  if (!existsSync(join(root, 'src'))) return;
  const resolve = (name) => createRequire(import.meta.url).resolve(`${name}/package.json`);
  let compiler;
  try {
    resolve('@types/node'); // typescript alone may be there as another package's peer
    compiler = join(dirname(resolve('typescript')), 'bin', 'tsc');
  } catch {
    if (existsSync(join(root, 'dist', 'index.js'))) return;
    throw new Error('dist/ is not there, nor what builds it: run npm install without --omit=dev');
  }
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.json'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error('the TypeScript did not compile: the messages above say why');
}

try {
  const summary = buildNative();
  buildTypeScript();
  console.log(summary);
} catch (error) {
  console.error(`heddle: ${error.message}`);
  process.exitCode = 1;
}
