// npm run bench -- NAME [--cases a,b] [--peers a,b] [--precisions a,b] [--threads N] [--rounds N] [--steps N] [--data FOLDER] [--json]
import { ConfigError } from '#src/errors.js';
import { benchmarks } from './benchmarks.js';
import { parseCommand } from './commandLine.js';

async function main(args: readonly string[]): Promise<void> {
  const { name, options, json } = parseCommand(args);
  const benchmark = benchmarks[name];
  if (!benchmark) {
    throw new ConfigError(
      `expected a benchmark of ${Object.keys(benchmarks).join(', ')} but received '${name}'`,
      {
        name,
      },
    );
  }
  console.log(JSON.stringify(await benchmark(options), null, json ? undefined : 2));
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
