import { DataError } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { numberedLines } from './numberedLines.js';
import type { PairData, Pairs } from './rowData.js';
import { checkAligned } from './rows.js';
import { type PartFiles, type RowDataOptions, RowsBuilder, rowTokenizer } from './rowTexts.js';
import type { PartName } from './split.js';

/** Two text files whose lines go together. */
export interface AlignedFiles {
  readonly source: string;
  readonly target: string;
}

/**
 * Line-aligned pairs, as of sentences and their translations. One tokenizer serves both sides; one that is learnt has pad, bos
 * and eos unless `specialTokens` says otherwise. Rows hold no special tokens.
 *
 * @throws DataError where the two files of a part have unequally many lines (it names both counts), or cannot be read
 */
export async function pairData(
  files: PartFiles<AlignedFiles>,
  options: RowDataOptions = {},
): Promise<PairData> {
  const texts = files.train && textsOf(files.train);
  const tokenizer = await rowTokenizer(texts, options, ['pad', 'bos', 'eos']);
  const parts: Partial<Record<PartName, Pairs>> = {};
  for (const [name, part] of Object.entries(files)) {
    parts[name as PartName] = await readPairs(part, tokenizer, options.signal);
  }
  const { source, target } = files.train ?? files.valid ?? files.test ?? { source: '', target: '' };
  return { name: `${source} and ${target}`, tokenizer, parts };
}

async function* textsOf({ source, target }: AlignedFiles): AsyncGenerator<string> {
  for (const path of [source, target]) {
    for await (const { text } of numberedLines(path)) yield text;
  }
}

async function readPairs(files: AlignedFiles, tokenizer: Tokenizer, signal?: AbortSignal): Promise<Pairs> {
  const [source, target] = [new RowsBuilder(tokenizer.vocabSize), new RowsBuilder(tokenizer.vocabSize)];
  for (const [path, rows] of [
    [files.source, source],
    [files.target, target],
  ] as const) {
    for await (const { text } of numberedLines(path)) {
      signal?.throwIfAborted();
      rows.add(tokenizer.encode(text));
    }
  }
  checkAligned({ count: source.count, name: files.source }, { count: target.count, name: files.target });
  if (source.count === 0) throw new DataError(`${files.source} and ${files.target} are empty`, { ...files });
  return { source: source.rows(), target: target.rows() };
}
