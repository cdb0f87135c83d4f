import { readFile } from 'node:fs/promises';
import { DataError } from '../errors.js';
import { ByteTokenizer } from '../text/bytes.js';
import { type LearnerOptions, tokenizerLearner } from '../text/learner.js';
import type { Tokenizer } from '../text/vocabulary.js';
import { checkAligned, memoryRows, type TokenRows } from './rows.js';
import { tokenizerNamed } from './tokenizerFile.js';

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

export interface TokenizerChoice extends LearnerOptions {
  /** A kind, or the path of a tokenizer. */
  readonly tokenizer: string;
}

/** The tokenizer that is named, learnt from these texts where it has to be. */
export async function tokenizerFor(
  { tokenizer: name, ...options }: TokenizerChoice,
  texts: readonly string[],
): Promise<Tokenizer> {
  const found = await tokenizerNamed(name);
  if (typeof found !== 'string') return found;
  if (found === 'bytes') return new ByteTokenizer(options.specialTokens);
  const learner = tokenizerLearner(found, options);
  texts.forEach((text, index) => {
    if (index > 0) learner.endText?.();
    learner.add(text);
  });
  return learner.tokenizer();
}

export const tokenRows = (texts: readonly string[], tokenizer: Tokenizer): TokenRows =>
  memoryRows(
    texts.map((text) => tokenizer.encode(text)),
    tokenizer.vocabSize,
  );
