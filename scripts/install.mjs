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
  let compiler;
  try {
    const manifest = createRequire(import.meta.url).resolve('typescript/package.json');
    compiler = join(dirname(manifest), 'bin', 'tsc');
  } catch {
    if (existsSync(join(root, 'dist', 'index.js'))) return;
    throw new Error(
      'dist/ is not there and typescript is not installed to build it; run npm install without --omit=dev',
    );
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
