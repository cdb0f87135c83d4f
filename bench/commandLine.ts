import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { ConfigError } from '#src/errors.js';

/** What benchmarks are told; each takes its own defaults for what is not given. */
export interface BenchOptions {
  readonly cases?: readonly string[];
  readonly peers?: readonly string[];
  readonly precisions?: readonly string[];
  readonly threads: number;
  readonly rounds?: number;
  readonly steps?: number;
  /** A folder with data sets. */
  readonly data?: string;
}

export interface BenchCommand {
  readonly name: string;
  /** What stands behind the name: files to plot. */
  readonly rest: readonly string[];
  readonly options: BenchOptions;
  readonly json: boolean;
  /** Where results are kept: the beginning of their files' names. */
  readonly out?: string;
}

const flags = {
  cases: { type: 'string' },
  peers: { type: 'string' },
  precisions: { type: 'string' },
  threads: { type: 'string' },
  rounds: { type: 'string' },
  steps: { type: 'string' },
  data: { type: 'string' },
  out: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

function wholeNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new ConfigError(`--${flag}: expected a whole number from 1 but received '${text}'`, { [flag]: text });
}

/** Reads `npm run bench -- NAME ...`. Throws ConfigError for flags that are unknown or have no such value. */
export function parseCommand(args: readonly string[]): BenchCommand {
  let parsed: ReturnType<typeof parseFlags>;
  try {
    parsed = parseFlags(args);
  } catch (error) {
    throw new ConfigError((error as Error).message.split('. ')[0], {});
  }
  const { positionals, values } = parsed;
  const list = (text: string | undefined) => text?.split(',').filter((name) => name !== '');
  const { data, json, out } = values;
  return {
    name: positionals[0] ?? 'step',
    rest: positionals.slice(1),
    json,
    out,
    options: {
      cases: list(values.cases),
      peers: list(values.peers),
      precisions: list(values.precisions),
      threads: wholeNumber('threads', values.threads) ?? availableParallelism(),
      rounds: wholeNumber('rounds', values.rounds),
      steps: wholeNumber('steps', values.steps),
      data,
    },
  };
}

const parseFlags = (args: readonly string[]) =>
  parseArgs({ args: [...args], allowPositionals: true, options: flags });

/** The ones named, in the order of `all`; without a choice the usual ones, or all. Throws ConfigError for unknown names. */
export function chosenOf<Item extends { readonly name: string }>(
  flag: string,
  chosen: readonly string[] | undefined,
  all: readonly Item[],
  usual: readonly string[] = all.map(({ name }) => name),
): Item[] {
  const names = all.map(({ name }) => name);
  const unknown = chosen?.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new ConfigError(`--${flag}: expected some of ${names.join(', ')} but received '${unknown}'`, {
      [flag]: unknown,
    });
  }
  return all.filter(({ name }) => (chosen ?? usual).includes(name));
}

/** The same of bare names. */
export const chosenNames = <Name extends string>(
  flag: string,
  chosen: readonly string[] | undefined,
  all: readonly Name[],
): Name[] =>
  chosenOf(
    flag,
    chosen,
    all.map((name) => ({ name })),
  ).map(({ name }) => name);
