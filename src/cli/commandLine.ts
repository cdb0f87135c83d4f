import { readFileSync } from 'node:fs';
import type * as v from 'valibot';
import { ConfigError, HeddleError, nearestName } from '../errors.js';
import { settingsFrom } from './flags.js';
import { describeEntry, describeSettings, type SettingsSchema } from './settings.js';

/** What a command is given beside its settings. */
export interface CommandContext {
  /** Aborted by SIGINT, SIGTERM, or when nobody reads standard output any more. */
  readonly signal: AbortSignal;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  /** Names of the settings that were given by flag or file, rather than left to their defaults. */
  readonly given: ReadonlySet<string>;
}

export interface Command<Schema extends SettingsSchema = SettingsSchema> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** A whole command line that works. */
  readonly example: string;
  readonly schema: Schema;
  /** Settings that may be given as plain words, in this order. */
  readonly positionals?: readonly (string & keyof v.InferOutput<Schema>)[];
  run(settings: v.InferOutput<Schema>, context: CommandContext): Promise<void>;
}

/** Declares a command; the settings that `run` receives have the type of the schema. */
export const defineCommand = <Schema extends SettingsSchema>(command: Command<Schema>): Command =>
  command as unknown as Command;

/**
 * Runs a command line without the program's name and returns the exit code: 0, 1 after a mistake of ours, 2 after one that
 * a HeddleError describes in a sentence, 130 and 143 after SIGINT and SIGTERM. A second signal ends the process at once.
 */
export async function main(argv: readonly string[], commands: readonly Command[]): Promise<number> {
  const { stdout, stderr } = process;
  const interruption = new Interruption(stderr);
  const command = commands.find(({ name }) => name === argv[0]);
  const fail = (error: unknown) => report(error, command?.name, stderr);
  stdout.on('error', interruption.onPipe);
  process.on('uncaughtException', (error) => process.exit(fail(error))); // and rejections nobody awaits
  try {
    if (command) await runCommand(command, argv.slice(1), interruption.signal);
    else stdout.write(programText(argv, commands, width(stdout)));
  } catch (error) {
    if (!interruption.caused(error)) return fail(error);
  } finally {
    interruption.close();
  }
  return interruption.exitCode ?? 0;
}

async function runCommand(command: Command, args: readonly string[], signal: AbortSignal): Promise<void> {
  const { stdout, stderr } = process;
  const parsed = await settingsFrom(args, command.schema, command.positionals);
  if (parsed) await command.run(parsed.settings, { signal, stdout, stderr, given: parsed.given });
  else stdout.write(commandHelp(command, width(stdout)));
}

const width = (stream: { columns?: number }): number => Math.min(Math.max(stream.columns || 100, 60), 120);

/** The answer to words that begin with no command: help, the version, or a ConfigError. */
function programText(argv: readonly string[], commands: readonly Command[], columns: number): string {
  const [first = '--help'] = argv;
  if (first === '--help' || first === '-h') return programHelp(commands, columns);
  if (first === '--version' || first === '-v') return `${version()}\n`;
  const names = commands.map(({ name }) => name);
  const near = nearestName(first, names);
  throw new ConfigError(
    `unknown command ${JSON.stringify(first)}; ${near ? `did you mean ${near}?` : `expected one of ${names.join(', ')}`}`,
  );
}

function programHelp(commands: readonly Command[], columns: number): string {
  return `heddle ${version()}: train, fine-tune and run Transformers

Usage: heddle <command> [flags]

Commands:
${commands.map(({ name, summary }) => describeEntry(name, summary, columns)).join('\n')}

Example:
  ${commands[0]?.example ?? 'heddle --version'}

See heddle <command> --help for the flags of a command.
`;
}

/** The text of `heddle <command> --help`. */
export function commandHelp(command: Command, columns: number): string {
  const words = (command.positionals ?? []).map((name) => ` [${name}]`).join('');
  return `heddle ${command.name}: ${command.summary}

Usage: heddle ${command.name}${words} [flags]

Example:
  ${command.example}

${describeSettings(command.schema, columns)}

General:
${describeEntry('--config <file>', 'Settings from a .yaml or .json file, under their names in camelCase; flags come before it', columns)}
${describeEntry('-h, --help', 'This text', columns)}
`;
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}

/** Says what went wrong in one sentence and returns the exit code. */
function report(error: unknown, command: string | undefined, stderr: NodeJS.WriteStream): number {
  const place = command ? `heddle ${command}` : 'heddle';
  const message = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim();
  if (error instanceof HeddleError) {
    stderr.write(`${place}: ${message}\n`);
    if (process.env.HEDDLE_DEBUG) stderr.write(`${error.stack}\n`);
    return 2;
  }
  stderr.write(`${place}: internal error: ${message}; set HEDDLE_DEBUG=1 for details\n`);
  if (process.env.HEDDLE_DEBUG) stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  return 1;
}

/** Turns the first signal of the system into an AbortSignal, and the second into the end of the process. */
class Interruption {
  exitCode: number | undefined;
  readonly #abort = new AbortController();
  readonly #stderr: NodeJS.WriteStream;

  constructor(stderr: NodeJS.WriteStream) {
    this.#stderr = stderr;
    process.on('SIGINT', this.#onSignal).on('SIGTERM', this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  readonly #onSignal = (name: NodeJS.Signals): void => {
    const code = name === 'SIGINT' ? 130 : 143;
    if (this.exitCode !== undefined) process.exit(code);
    this.exitCode = code;
    if (name === 'SIGINT') this.#stderr.write('\nheddle: stopping; press Ctrl-C again to leave at once\n');
    this.#abort.abort();
  };

  /** A reader that has seen enough, as in `heddle generate | head`, is no error. */
  readonly onPipe = (error: NodeJS.ErrnoException): void => {
    if (error.code !== 'EPIPE') throw error;
    this.exitCode ??= 0;
    this.#abort.abort();
  };

  /** Whether an error only says that the command stopped as it was told to. */
  caused(error: unknown): boolean {
    const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
    return this.signal.aborted && (error === this.signal.reason || name === 'AbortError' || code === 'EPIPE');
  }

  close(): void {
    process.off('SIGINT', this.#onSignal).off('SIGTERM', this.#onSignal);
  }
}
