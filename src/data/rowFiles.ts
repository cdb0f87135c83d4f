import { readFile } from 'node:fs/promises';
import { ConfigError, DataError } from '../errors.js';
import { ByteTokenizer } from '../text/bytes.js';
import { CharacterInventory } from '../text/characters.js';
import type { Tokenizer, TokenizerKind } from '../text/vocabulary.js';
import { checkAligned, memoryRows, type TokenRows } from './rows.js';

/** The lines of a UTF-8 file, without their ends. Throws DataError. */
export async function readLines(path: string): Promise<string[]> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new DataError(`cannot read ${path}: ${(cause as Error).message}`, { path }, { cause });
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError(`${path} is not UTF-8; convert it first`, { path }, { cause });
  }
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** Texts with a partner each, which may be a translation or a completion. */
export interface TextPairs {
  readonly source: readonly string[];
  readonly target: readonly string[];
}

/** Two line-aligned files. Throws a DataError that names both counts where they are unequal. */
export async function readPairs(sourcePath: string, targetPath: string): Promise<TextPairs> {
  const [source, target] = [await readLines(sourcePath), await readLines(targetPath)];
  checkAligned({ count: source.length, name: sourcePath }, { count: target.length, name: targetPath });
  return { source, target };
}

/** A .jsonl file of objects with the texts `prompt` and `completion`. Throws a DataError that names the line. */
export async function readCompletions(path: string): Promise<TextPairs> {
  const rows = (await readLines(path)).map((line, index) => {
    const refuse = (why: string) =>
      new DataError(`${path}, line ${index + 1}: ${why}`, { path, line: index + 1 });
    let value: { prompt?: unknown; completion?: unknown } | null;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw refuse(`no JSON (${(cause as Error).message})`);
    }
    const { prompt, completion } = value ?? {};
    if (typeof prompt !== 'string' || typeof completion !== 'string') {
      throw refuse('expected an object with the texts prompt and completion');
    }
    return { prompt, completion };
  });
  return { source: rows.map(({ prompt }) => prompt), target: rows.map(({ completion }) => completion) };
}

export interface LabelledTexts {
  readonly texts: readonly string[];
  readonly labels: readonly string[];
}

/** A .tsv file of lines `text TAB label`. Throws a DataError that names the line. */
export async function readLabelled(path: string): Promise<LabelledTexts> {
  const rows = (await readLines(path)).map((line, index) => {
    const fields = line.split('\t');
    if (fields.length === 2 && fields[1] !== '') return fields;
    throw new DataError(
      `${path}, line ${index + 1}: expected a text, one tab and a label, got ${fields.length} fields`,
      {
        path,
        line: index + 1,
      },
    );
  });
  return { texts: rows.map(([text]) => text), labels: rows.map(([, label]) => label) };
}

/** The numbers of labels by their names. A label that training has not seen is a DataError. */
export function labelNumbers(labels: readonly string[], names: readonly string[], what: string): Int32Array {
  return Int32Array.from(labels, (label) => {
    const number = names.indexOf(label);
    if (number >= 0) return number;
    throw new DataError(
      `${what} has the label ${JSON.stringify(label)}, but training knows ${names.join(', ')}`,
      { label },
    );
  });
}

/** A tokenizer of a kind for these texts. */
export function tokenizerFor(kind: TokenizerKind, texts: Iterable<string>): Tokenizer {
  if (kind === 'bytes') return new ByteTokenizer();
  if (kind !== 'characters')
    throw new ConfigError(`no tokenizer ${kind} can be made of rows of text; use characters or bytes`);
  const inventory = new CharacterInventory();
  for (const text of texts) inventory.add(text);
  return inventory.tokenizer();
}

export const tokenRows = (texts: readonly string[], tokenizer: Tokenizer): TokenRows =>
  memoryRows(
    texts.map((text) => tokenizer.encode(text)),
    tokenizer.vocabSize,
  );
