// What a schema says about its settings, read for the command line: flags, help, and the texts of errors.
import * as v from 'valibot';

/** A schema of named settings, as `v.strictObject` makes it, with or without a pipe. */
export interface SettingsSchema extends v.GenericSchema<unknown, Record<string, unknown>> {
  readonly entries: v.ObjectEntries;
}

type Kind = 'number' | 'text' | 'switch' | 'choice' | 'list';

export interface Setting {
  /** The name in a configuration file, in camelCase. */
  readonly name: string;
  /** The name on the command line: `--` and the kebab-case of the name. */
  readonly flag: string;
  readonly kind: Kind;
  readonly choices: readonly string[];
  readonly description: string;
  readonly unit: string | undefined;
  /** The default value, undefined where there is none. */
  readonly defaultValue: unknown;
  /** How a missing value follows from other settings. */
  readonly defaultFrom: string | undefined;
  /** What a value must be, as in "expected a whole number of at least 1". */
  readonly expected: string;
}

/** The schema itself, some actions of its pipe, and what holds the default. Valibot types these apart; here they are read. */
interface Field {
  readonly type: string;
  readonly wrapped?: Field;
  readonly default?: unknown;
  readonly options?: readonly string[];
  readonly pipe?: readonly { kind: string; type: string; requirement?: unknown; message?: unknown }[];
}

export const flagOf = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The settings of a schema, in its order. */
export function settingsOf(schema: SettingsSchema): Setting[] {
  return Object.entries(schema.entries).map(([name, entry]) => {
    const outer = entry as unknown as Field;
    const field = outer.wrapped ?? outer;
    const notes: { unit?: string; defaultFrom?: string } = v.getMetadata(field as never);
    return {
      name,
      flag: flagOf(name),
      kind: kindOf(field),
      choices: field.options ?? [],
      description: v.getDescription(field as never) ?? '',
      unit: notes.unit,
      defaultValue: outer.default,
      defaultFrom: notes.defaultFrom,
      expected: expectedOf(field),
    };
  });
}

/** The titles under which help lists the settings: the schema's metadata `groups`, or one group of all. */
export function groupsOf(schema: SettingsSchema): Record<string, readonly string[]> {
  const { groups } = v.getMetadata(schema) as { groups?: Record<string, readonly string[]> };
  return groups ?? { Settings: Object.keys(schema.entries) };
}

function kindOf(field: Field): Kind {
  const kinds: Record<string, Kind> = {
    number: 'number',
    string: 'text',
    boolean: 'switch',
    picklist: 'choice',
    array: 'list',
  };
  const kind = kinds[field.type];
  if (!kind) throw new TypeError(`no flag can hold a value of type ${field.type}`);
  return kind;
}

function expectedOf(field: Field): string {
  const actions = (field.pipe ?? []).filter(({ kind }) => kind === 'validation');
  const message = actions.find((action) => typeof action.message === 'string')?.message;
  if (message !== undefined) return message as string;
  const bounds: Record<string, string> = {
    min_value: 'at least',
    max_value: 'at most',
    gt_value: 'above',
    lt_value: 'below',
  };
  const limits = actions.flatMap(({ type, requirement }) =>
    bounds[type] ? [`${bounds[type]} ${requirement}`] : [],
  );
  switch (kindOf(field)) {
    case 'number': {
      const whole = actions.some(({ type }) => type === 'safe_integer' || type === 'integer');
      const range =
        limits.length === 0 ? '' : ` ${limits[0].startsWith('at ') ? 'of ' : ''}${limits.join(' and ')}`;
      return `a ${whole ? 'whole ' : ''}number${range}`;
    }
    case 'choice':
      return `one of ${field.options!.join(', ')}`;
    case 'switch':
      return 'true or false';
    case 'list':
      return 'numbers separated by commas';
    case 'text':
      return 'a text that is not empty';
  }
}

/** The help of a schema's settings: one entry for each, with its description, unit and default. */
export function describeSettings(schema: SettingsSchema, width: number): string {
  const settings = new Map(settingsOf(schema).map((setting) => [setting.name, setting]));
  const groups = Object.entries(groupsOf(schema)).map(([title, names]) => {
    const entries = names.map((name) => {
      const setting = settings.get(name)!;
      return describeEntry(synopsis(setting), `${setting.description}${remarks(setting)}`, width);
    });
    return `${title}:\n${entries.join('\n')}`;
  });
  return groups.join('\n\n');
}

const column = 32;

/** A flag and its description, which is folded beside it, or below where the flag is long. */
export function describeEntry(name: string, description: string, width: number): string {
  const lines = fold(description, Math.max(30, width - column));
  const first = name.length + 2 <= column - 2 ? [`  ${name}`.padEnd(column) + lines.shift()!] : [`  ${name}`];
  return [...first, ...lines.map((line) => ' '.repeat(column) + line)].join('\n');
}

function synopsis({ flag, kind, choices, defaultValue }: Setting): string {
  switch (kind) {
    case 'switch':
      return defaultValue === false ? flag : `--[no-]${flag.slice(2)}`;
    case 'choice':
      return `${flag} ${choices.join('|')}`;
    case 'list':
      return `${flag} n,n,...`;
    default:
      return `${flag} <${kind}>`;
  }
}

function remarks({ unit, kind, defaultValue, defaultFrom }: Setting): string {
  const parts = unit === undefined ? [] : [unit];
  if (defaultFrom !== undefined) parts.push(`default: ${defaultFrom}`);
  else if (defaultValue !== undefined && !(kind === 'switch' && defaultValue === false)) {
    parts.push(`default ${kind === 'switch' ? 'on' : readable(defaultValue)}`);
  }
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`;
}

/** Texts with line breaks and the like in them are shown quoted. */
const readable = (value: unknown): string =>
  typeof value === 'string' && value !== value.trim() ? JSON.stringify(value) : String(value);

function fold(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.length - 1;
    if (lines[last] !== '' && lines[last].length + 1 + word.length > width) lines.push(word);
    else lines[last] += lines[last] === '' ? word : ` ${word}`;
  }
  return lines;
}
