// npm run bench -- NAME [--cases a,b] [--peers a,b] [--precisions a,b] [--threads N] [--rounds N] [--steps N] [--data FOLDER]
//   [--json] [--out bench/results/MACHINE]   writes MACHINE-NAME.json and its plot as well
// npm run bench -- all --out bench/results/MACHINE   every benchmark that is plotted, one after the other
// npm run bench -- plot FILE.json ...   draws results again, each beside its file
import { readFileSync, writeFileSync } from 'node:fs';
import { ConfigError } from '#src/errors.js';
import { benchmarks, timedBenchmarks } from './benchmarks.js';
import { type BenchCommand, type BenchOptions, parseCommand } from './commandLine.js';
import { plotOf } from './plot/charts.js';

async function run(name: string, options: BenchOptions, out: string | undefined): Promise<object> {
  const result = { benchmark: name, ...(await benchmarks[name](options)) };
  if (out !== undefined) {
    writeFileSync(`${out}-${name}.json`, `${JSON.stringify(result, null, 2)}\n`);
    plot(`${out}-${name}.json`);
  }
  return result;
}

/** Draws a result beside its file, if there is something to draw. */
function plot(file: string): string | undefined {
  let result: { benchmark?: string };
  try {
    result = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(`plot: ${file} cannot be read: ${(error as Error).message}`, { file });
  }
  const drawing = plotOf(result.benchmark ?? '', result as Parameters<typeof plotOf>[1]);
  if (drawing === undefined) return undefined;
  const path = `${file.replace(/\.json$/, '')}.svg`;
  writeFileSync(path, drawing);
  return path;
}

function plotAll(files: readonly string[]): void {
  if (!files.length) throw new ConfigError('plot: expected the files that benchmarks wrote with --out', {});
  for (const file of files) {
    const path = plot(file);
    if (path === undefined) throw new ConfigError(`plot: ${file} is no result that can be drawn`, { file });
    console.log(path);
  }
}

async function runAll({ options, out }: BenchCommand): Promise<void> {
  if (out === undefined)
    throw new ConfigError('all: expected --out, the beginning of the names of its files', {});
  const { threads, rounds } = options;
  for (const name of timedBenchmarks) {
    const started = performance.now();
    await run(name, { threads, rounds }, out);
    console.log(`${out}-${name}.json after ${Math.round((performance.now() - started) / 1000)} s`);
  }
}

async function main(args: readonly string[]): Promise<void> {
  const command = parseCommand(args);
  const { name, rest, options, json, out } = command;
  if (name === 'plot') return plotAll(rest);
  if (name === 'all') return runAll(command);
  if (!Object.hasOwn(benchmarks, name)) {
    const names = [...Object.keys(benchmarks), 'all', 'plot'];
    throw new ConfigError(`expected a benchmark of ${names.join(', ')} but received '${name}'`, { name });
  }
  console.log(JSON.stringify(await run(name, options, out), null, json ? undefined : 2));
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
