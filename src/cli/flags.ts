// From the words after a command to checked settings: defaults, then the file of --config, then flags.
import { readFile, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import * as v from 'valibot';
import { parse as parseYaml, YAMLParseError } from 'yaml';
import { ConfigError, nearestName } from '../errors.js';
import { flagOf, type Setting, type SettingsSchema, settingsOf } from './settings.js';

/** What stood on the command line. */
export interface Arguments {
  readonly values: Readonly<Record<string, unknown>>;
  readonly config: string | undefined;
  readonly help: boolean;
}

/** Settings that passed their schema, and the names of those that were given rather than left to their defaults. */
export interface GivenSettings<Settings> {
  readonly settings: Settings;
  readonly given: ReadonlySet<string>;
}

/** Reads flags (`--name value`, `--name=value`, `--switch`, `--no-switch`) and positional words. Throws ConfigError. */
export function parseArguments(
  args: readonly string[],
  settings: readonly Setting[],
  positionals: readonly string[] = [],
): Arguments {
  const byFlag = new Map(settings.map((setting) => [setting.flag, setting]));
  const byName = new Map(settings.map((setting) => [setting.name, setting]));
  const places = [...positionals];
  const values: Record<string, unknown> = {};
  let config: string | undefined;
  let help = false;
  const rest = [...args];
  let flagsEnded = false;
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!flagsEnded && word === '--') flagsEnded = true;
    else if (!flagsEnded && (word === '--help' || word === '-h')) help = true;
    else if (!flagsEnded && word.startsWith('-') && word.length > 1) {
      const [flag, attached] = splitOnce(word);
      const setting = byFlag.get(flag);
      const negated = byFlag.get(flag.replace(/^--no-/, '--'));
      if (flag === '--config') config = valueAfter(flag, attached, rest, 'a .yaml or .json file');
      else if (setting?.kind === 'switch')
        values[setting.name] = attached === undefined || fromText(attached, setting);
      else if (setting)
        values[setting.name] = fromText(valueAfter(flag, attached, rest, setting.expected), setting);
      else if (negated?.kind === 'switch' && attached === undefined) values[negated.name] = false;
      else throw unknownFlag(flag, settings);
    } else {
      const setting = byName.get(places.shift() ?? '');
      if (!setting)
        throw new ConfigError(`unexpected word ${JSON.stringify(word)}; settings are given as --flag value`);
      values[setting.name] = fromText(word, setting);
    }
  }
  return { values, config, help };
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf('=');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function valueAfter(flag: string, attached: string | undefined, rest: string[], expected: string): string {
  if (attached !== undefined) return attached;
  const next = rest.shift();
  if (next === undefined || next.startsWith('--')) {
    throw new ConfigError(`${flag} needs a value: ${expected}`, { flag });
  }
  return next;
}

function unknownFlag(flag: string, settings: readonly Setting[]): ConfigError {
  const flags = settings.flatMap((it) =>
    it.kind === 'switch' ? [it.flag, `--no-${it.flag.slice(2)}`] : [it.flag],
  );
  const near = nearestName(flagOf(flag.replace(/^-+/, '')), [...flags, '--config', '--help']);
  return new ConfigError(`unknown flag ${flag}; ${near ? `did you mean ${near}?` : 'see --help'}`, {
    flag,
    near,
  });
}

/** A value of the setting's kind; text that is none stays as it is, for the schema to refuse it. */
function fromText(text: string, { kind }: Setting): unknown {
  switch (kind) {
    case 'number':
      return numberFrom(text);
    case 'list':
      return text.split(',').map(numberFrom);
    case 'switch':
      return text === 'true' || (text === 'false' ? false : text);
    default:
      return text;
  }
}

/** Decimal numbers only: no hexadecimal, no empty text, no infinity. */
const numberFrom = (text: string): unknown =>
  /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : text;

const maxConfigBytes = 2 ** 20;

/** The settings of a `.yaml`, `.yml` or `.json` file, not yet checked but for their names. Throws ConfigError. */
export async function readConfigFile(
  path: string,
  settings: readonly Setting[],
): Promise<Record<string, unknown>> {
  const value = parseConfig(await readConfigText(path), path);
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new ConfigError(`${path}: expected settings as name: value, got ${show(value)}`, { path });
  }
  const names = settings.map(({ name }) => name);
  for (const key of Object.keys(value)) {
    if (names.includes(key)) continue;
    const camelCase = key.replace(/[-_]+([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const near = nearestName(camelCase, names);
    const advice = near ? `did you mean ${near}?` : 'see --help for the settings there are';
    throw new ConfigError(`${path}: unknown setting ${key}; ${advice}`, { path, key, near });
  }
  return value as Record<string, unknown>;
}

async function readConfigText(path: string): Promise<string> {
  if (!['.json', '.yaml', '.yml'].includes(extname(path))) {
    throw new ConfigError(`--config: expected a file that ends in .yaml, .yml or .json, got ${path}`, {
      path,
    });
  }
  try {
    const { size } = await stat(path);
    if (size > maxConfigBytes)
      throw new ConfigError(`${path} has ${size} bytes, more than a configuration needs`, { path });
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`;
    throw new ConfigError(
      `--config ${path}: ${reason}; give the path of a .yaml or .json file`,
      { path },
      { cause: error },
    );
  }
}

function parseConfig(text: string, path: string): unknown {
  try {
    return extname(path) === '.json' ? JSON.parse(text) : parseYaml(text, { logLevel: 'error' });
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof YAMLParseError || error instanceof ReferenceError))
      throw error;
    const reason = error.message.split('\n')[0].replace(/:$/, '');
    throw new ConfigError(`${path} is not ${extname(path) === '.json' ? 'JSON' : 'YAML'}: ${reason}`, {
      path,
    });
  }
}

/** Settings of a command from its words. `undefined` where help was asked for. Throws ConfigError. */
export async function settingsFrom<Schema extends SettingsSchema>(
  args: readonly string[],
  schema: Schema,
  positionals: readonly string[] = [],
): Promise<GivenSettings<v.InferOutput<Schema>> | undefined> {
  const settings = settingsOf(schema);
  const { values, config, help } = parseArguments(args, settings, positionals);
  if (help) return undefined;
  const fromFile = config === undefined ? {} : await readConfigFile(config, settings);
  const result = v.safeParse(schema, { ...fromFile, ...values });
  if (result.success) {
    return { settings: result.output, given: new Set([...Object.keys(fromFile), ...Object.keys(values)]) };
  }
  const name = String(result.issues[0].path?.[0].key);
  const setting = settings.find((it) => it.name === name);
  if (!setting) throw new ConfigError(result.issues[0].message);
  const place = Object.hasOwn(values, name) ? setting.flag : `${config}: ${name}`;
  const value = values[name] ?? fromFile[name];
  if (value === undefined)
    throw new ConfigError(`${setting.flag} is missing: expected ${setting.expected}`, { name });
  throw new ConfigError(`${place}: expected ${setting.expected}, got ${show(value)}`, { name, value });
}

function show(value: unknown): string {
  const isList = Array.isArray(value) && value.every((item) => typeof item !== 'object');
  const text = isList || typeof value === 'number' ? String(value) : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
