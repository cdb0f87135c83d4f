import { DataError } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type Cleaning, checkCleaning, cleanRow } from './cleaning.js';
import { numberedLines } from './numberedLines.js';
import type { LabelledData, LabelledRows } from './rowData.js';
import { type PartFiles, type RowDataOptions, RowsBuilder, rowTokenizer } from './rowTexts.js';
import type { PartName } from './split.js';

export interface LabelledOptions extends RowDataOptions {
  /** Names of the classes, in the order of their numbers. Default: those of the training part, whole numbers in their order, others in that of their code units. */
  readonly labelNames?: readonly string[];
  /** Of every text, before the tokenizer learns from it or reads it. Default 'none'. */
  readonly clean?: Cleaning;
}

/**
 * Labelled texts from TSV files: a text, a tab and the name of its class a line; empty lines are passed over. A tokenizer that is learnt
 * has pad and cls unless `specialTokens` says otherwise. Rows hold no special tokens.
 *
 * @throws ConfigError where `clean` is no cleaning
 * @throws DataError that names the line where one has not two fields or a class that is not known, or the file cannot be read
 */
export async function labelledData(
  files: PartFiles<string>,
  options: LabelledOptions = {},
): Promise<LabelledData> {
  const { clean = 'none', signal } = options;
  checkCleaning(clean);
  const texts = files.train === undefined ? undefined : textsOf(files.train, clean);
  const tokenizer = await rowTokenizer(texts, options, ['pad', 'cls']);
  const labelNames = options.labelNames ?? (await distinctLabels(files.train));
  const numbers = new Map(labelNames.map((name, number) => [name, number]));
  const parts: Partial<Record<PartName, LabelledRows>> = {};
  for (const [name, path] of Object.entries(files)) {
    parts[name as PartName] = await readPart(path, { tokenizer, numbers, clean, signal });
  }
  return { name: files.train ?? files.valid ?? files.test ?? '', tokenizer, labelNames, parts };
}

async function* textsOf(path: string, clean: Cleaning): AsyncGenerator<string> {
  for await (const { text } of readLines(path)) yield cleanRow(text, clean);
}

async function distinctLabels(path: string | undefined): Promise<string[]> {
  if (path === undefined) {
    throw new DataError(
      'the names of the classes come from a training part, but there is none; give labelNames',
    );
  }
  const found = new Set<string>();
  for await (const { label } of readLines(path)) found.add(label);
  const labels = [...found];
  if (labels.every((label) => /^\d{1,9}$/.test(label))) return labels.sort((a, b) => Number(a) - Number(b));
  return labels.sort((a, b) => (a < b ? -1 : 1));
}

interface Reading {
  readonly tokenizer: Tokenizer;
  /** Of the classes, by their names. */
  readonly numbers: ReadonlyMap<string, number>;
  readonly clean: Cleaning;
  readonly signal?: AbortSignal;
}

async function readPart(path: string, { tokenizer, numbers, clean, signal }: Reading): Promise<LabelledRows> {
  const rows = new RowsBuilder(tokenizer.vocabSize);
  const labels: number[] = [];
  for await (const { text, label, line } of readLines(path)) {
    signal?.throwIfAborted();
    const number = numbers.get(label);
    if (number === undefined) {
      const known = [...numbers.keys()].slice(0, 20).join(', ');
      throw new DataError(
        `${path}:${line} has the class ${JSON.stringify(label.slice(0, 40))}, but the classes are ${known}`,
        { path, line, label },
      );
    }
    rows.add(tokenizer.encode(cleanRow(text, clean)));
    labels.push(number);
  }
  if (rows.count === 0) throw new DataError(`${path} holds no texts`, { path });
  return { rows: rows.rows(), labels: Int32Array.from(labels) };
}

async function* readLines(
  path: string,
): AsyncGenerator<{ readonly text: string; readonly label: string; readonly line: number }> {
  for await (const { text: line, number } of numberedLines(path)) {
    if (line === '') continue;
    const fields = line.split('\t');
    if (fields.length !== 2 || fields[0].trim() === '' || fields[1].trim() === '') {
      throw new DataError(
        `${path}:${number} must be a text, a tab and a class, but it has ${fields.length} fields${fields.length === 2 ? ', one of them empty' : ''}`,
        { path, line: number },
      );
    }
    yield { text: fields[0], label: fields[1].trim(), line: number };
  }
}
