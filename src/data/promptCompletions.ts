import * as v from 'valibot';
import { DataError } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { jsonLines } from './jsonLines.js';
import type { PairData, Pairs } from './rowData.js';
import { type PartFiles, type RowDataOptions, RowsBuilder, rowTokenizer } from './rowTexts.js';
import type { PartName } from './split.js';

const line = v.object({ prompt: v.string(), completion: v.string() });

/**
 * Prompts with their completions from JSONL files: an object with `prompt` and `completion` a line; other fields and empty lines are
 * passed over. One that is learnt has the special token eos unless `specialTokens` says otherwise. Rows hold no special tokens.
 *
 * @throws DataError that names the line where one is no such object, or the file holds none or cannot be read
 */
export async function promptCompletionData(
  files: PartFiles<string>,
  options: RowDataOptions = {},
): Promise<PairData> {
  const texts = files.train === undefined ? undefined : textsOf(files.train);
  const tokenizer = await rowTokenizer(texts, options, ['eos']);
  const parts: Partial<Record<PartName, Pairs>> = {};
  for (const [name, path] of Object.entries(files)) {
    parts[name as PartName] = await readPart(path, tokenizer, options.signal);
  }
  return { name: files.train ?? files.valid ?? files.test ?? '', tokenizer, parts };
}

async function* textsOf(path: string): AsyncGenerator<string> {
  for await (const { prompt, completion } of readLines(path)) {
    yield prompt;
    yield completion;
  }
}

async function readPart(path: string, tokenizer: Tokenizer, signal?: AbortSignal): Promise<Pairs> {
  const [source, target] = [new RowsBuilder(tokenizer.vocabSize), new RowsBuilder(tokenizer.vocabSize)];
  for await (const { prompt, completion } of readLines(path)) {
    signal?.throwIfAborted();
    source.add(tokenizer.encode(prompt));
    target.add(tokenizer.encode(completion));
  }
  if (source.count === 0) throw new DataError(`${path} holds no prompts`, { path });
  return { source: source.rows(), target: target.rows() };
}

const readLines = (path: string) => jsonLines(path, line, '{"prompt": "…", "completion": "…"}');
