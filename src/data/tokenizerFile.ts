import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, DataError, nearestName } from '../errors.js';
import { gpt2Tokenizer } from '../text/gpt2Files.js';
import { type Tokenizer, type TokenizerKind, tokenizerFromJSON, tokenizerKinds } from '../text/vocabulary.js';

/** The largest published tokenizer.json files have some 30 MB. */
const largestFile = 128 << 20;

const isKind = (name: string): name is TokenizerKind => (tokenizerKinds as readonly string[]).includes(name);

/**
 * A kind of tokenizer that is built from a text, by its name, or the tokenizer in a file: a tokenizer.json (ours, or of Hugging
 * Face's libraries), or a folder with one or with GPT-2's encoder.json and vocab.bpe. Throws ConfigError where it is neither.
 */
export async function tokenizerNamed(name: string): Promise<TokenizerKind | Tokenizer> {
  if (isKind(name)) return name;
  const found = await stat(name).catch(() => undefined);
  if (!found) {
    const near = nearestName(name, tokenizerKinds);
    throw new ConfigError(
      `tokenizer must be ${tokenizerKinds.join(', ')} or the path of a tokenizer.json, but there is no ${name}` +
        (near ? `; did you mean ${near}?` : ''),
      { tokenizer: name },
    );
  }
  if (!found.isDirectory()) return fromFile(name);
  const has = async (file: string) => Boolean(await stat(join(name, file)).catch(() => undefined));
  if (await has('tokenizer.json')) return fromFile(join(name, 'tokenizer.json'));
  if ((await has('encoder.json')) && (await has('vocab.bpe'))) {
    return gpt2Tokenizer(await readText(join(name, 'encoder.json')), await readText(join(name, 'vocab.bpe')));
  }
  throw new ConfigError(`${name} has no tokenizer.json, and no encoder.json with vocab.bpe`, {
    tokenizer: name,
  });
}

async function fromFile(path: string): Promise<Tokenizer> {
  let value: unknown;
  try {
    value = JSON.parse(await readText(path));
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(`${path} is no JSON: ${(error as Error).message.slice(0, 120)}`, { path });
  }
  try {
    return tokenizerFromJSON(value);
  } catch (error) {
    throw error instanceof DataError ? new DataError(`${path}: ${error.message}`, { path }) : error;
  }
}

async function readText(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > largestFile) {
    throw new DataError(`${path} has ${size} bytes; a file of a tokenizer has at most ${largestFile}`, {
      path,
    });
  }
  return readFile(path, 'utf8');
}

/** Writes what `tokenizerNamed` reads; the file is whole, or as it was before. Throws DataError where it cannot be written. */
export async function writeTokenizer(path: string, tokenizer: Tokenizer): Promise<void> {
  const temporary = `${path}.${randomUUID()}.part`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(JSON.stringify(tokenizer.toJSON()));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new DataError(`cannot write ${path}: ${(cause as Error).message}`, { path }, { cause });
  }
}
