import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const src = fileURLToPath(new URL('../../src/', import.meta.url));

/**
 * Folders that each folder may import from, besides its own. The rows follow the arrows of the design: what stands to the
 * right, and what stands to the right of that.
 */
const graph = ['graph', 'shape', 'errors'];
const ops = ['ops', ...graph];
const nn = ['nn', ...ops];
const models = ['models', ...nn, 'checkpoint', 'random'];
const data = ['data', 'text', 'random', 'shape', 'errors'];
const objectives = ['objectives', 'data', 'text', 'random', ...models];
const programs = ['compile', 'runtime'];
const generate = ['generate', 'text', ...objectives, ...programs];
const evaluate = ['evaluate', ...generate, ...data];
const train = ['train', ...evaluate, 'checkpoint'];
const outermost = ['inspect', 'dashboard', 'serve', ...train];

const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  shape: ['errors'],
  random: ['errors'],
  graph,
  ops,
  nn,
  compile: ['compile', ...ops],
  runtime: ['runtime', 'shape', 'errors'],
  checkpoint: ['checkpoint', 'shape', 'errors'],
  models,
  text: ['text', 'random', 'errors'],
  data,
  objectives,
  generate,
  evaluate,
  train,
  inspect: outermost,
  dashboard: outermost,
  serve: outermost,
  index: outermost,
  cli: ['cli', 'index', ...outermost],
};

const filesUnder = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesUnder(path) : path.endsWith('.ts') ? [path] : [];
  });

/** The folder of a source file, or its own name where it stands at the top. */
const folderOf = (path: string) =>
  relative(src, path)
    .split('/')[0]
    .replace(/\.[jt]s$/, '');

/** Imports of one file: the text of the line, and what it names. */
function importsOf(path: string): { line: number; text: string; target: string }[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((text, index) => {
      const found = /(?:from|import|import\()\s*'([^']+)'/.exec(text);
      return found ? [{ line: index + 1, text: text.trim(), target: found[1] }] : [];
    });
}

const files = filesUnder(src);

test('a folder imports only what stands to its right', (t) => {
  for (const path of files) {
    const folder = folderOf(path);
    t.true(folder in allowed, `${relative(src, path)}: the folder ${folder} is in no row of this test`);
    for (const { line, text, target } of importsOf(path)) {
      if (!target.startsWith('.')) continue;
      const other = folderOf(join(dirname(path), target));
      const isAllowed = other === folder || (allowed[folder] ?? []).includes(other);
      t.true(isAllowed, `src/${relative(src, path)}:${line}: ${folder} may not import ${other}: ${text}`);
    }
  }
});

test('compile and runtime meet through bytes alone, and one file loads the addon', (t) => {
  for (const path of files) {
    for (const { line, text, target } of importsOf(path)) {
      const where = `src/${relative(src, path)}:${line}: ${text}`;
      if (folderOf(path) === 'compile') t.false(target.includes('/runtime/'), where);
      if (folderOf(path) === 'runtime') t.false(target.includes('/compile/'), where);
    }
    if (relative(src, path) === 'runtime/addon.ts') continue;
    t.notRegex(readFileSync(path, 'utf8'), /['"]bindings['"]/, `${relative(src, path)} loads the addon`);
  }
});

test('no imports in a circle between folders', (t) => {
  const edges = new Map<string, Set<string>>();
  for (const path of files) {
    const from = folderOf(path);
    for (const { target } of importsOf(path)) {
      if (!target.startsWith('.')) continue;
      const to = folderOf(join(dirname(path), target));
      if (to !== from) edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
  }
  const visit = (folder: string, trail: readonly string[]): void => {
    t.false(trail.includes(folder), [...trail, folder].join(' -> '));
    if (trail.includes(folder)) return;
    for (const next of edges.get(folder) ?? []) visit(next, [...trail, folder]);
  };
  for (const folder of edges.keys()) visit(folder, []);
});
