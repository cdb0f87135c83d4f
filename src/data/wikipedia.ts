import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { DataError } from '../errors.js';
import { decodeUtf8 } from '../text/utf8.js';
import type { Corpus, CorpusDocument } from './corpora.js';

/** The largest articles have some 2 MB. */
const longestPage = 2 ** 24;

export const isWikipediaDump = (path: string): boolean => /\.xml(\.bz2)?$/i.test(path);

/**
 * A dump of Wikipedia's articles as MediaWiki exports them, `.xml` or `.xml.bz2` (by the program bzip2), read as a stream. Every
 * article is a text of its own; redirects and pages outside the namespace of articles are passed over. What comes is mark-up.
 */
export async function openWikipediaDump(path: string): Promise<Corpus> {
  const { size, mtimeMs } = await stat(path);
  const document: CorpusDocument = {
    name: path,
    bytes: size,
    markup: 'wikitext',
    texts: (onBytes) => articles(decodeUtf8(dumpBytes(path, onBytes), path), path),
    pieces: (onBytes) => articles(decodeUtf8(dumpBytes(path, onBytes), path), path),
  };
  return {
    name: path,
    inputs: [{ path: resolve(path), bytes: size, modified: mtimeMs }],
    documents: [document],
  };
}

async function* dumpBytes(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  const file = fileBytes(path, onBytes);
  yield* /\.bz2$/i.test(path) ? bunzip(path, file) : file;
}

async function* fileBytes(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 18 })) {
      onBytes?.(piece.length);
      yield piece;
    }
  } catch (cause) {
    throw new DataError(`cannot read ${path}: ${(cause as Error).message}`, { path }, { cause });
  }
}

/** Decompresses by the program bzip2, a process of its own: several times as fast as JavaScript, and beside it. */
async function* bunzip(path: string, compressed: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const child = spawn('bzip2', ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (piece) => {
    if (complaint.length < 500) complaint += piece;
  });
  const ended = new Promise<Error | undefined>((done) => {
    child.on('error', done);
    child.on('close', (code) => done(code === 0 ? undefined : new Error(complaint.trim() || `code ${code}`)));
  });
  child.stdin.on('error', () => {}); // it ended before its input did, and says why
  const feeding = feed(compressed, child.stdin).catch((error: Error) => {
    child.kill();
    return error;
  });
  try {
    yield* child.stdout;
    const failure = (await feeding) ?? (await ended);
    if (!failure) return;
    if (failure instanceof DataError) throw failure;
    const why =
      (failure as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'the program bzip2 is not installed; install it, or decompress the file and give the .xml'
        : `bzip2 says: ${failure.message.replace(/\s+/g, ' ')}`;
    throw new DataError(`cannot decompress ${path}: ${why}`, { path }, { cause: failure });
  } finally {
    child.kill();
  }
}

async function feed(pieces: AsyncIterable<Uint8Array>, into: NodeJS.WritableStream): Promise<undefined> {
  const broken = new Promise<void>((done) => into.once('close', done));
  for await (const piece of pieces) {
    if (!into.writable) return undefined;
    if (!into.write(piece)) await Promise.race([new Promise((done) => into.once('drain', done)), broken]);
  }
  into.end();
  return undefined;
}

/**
 * The mark-up of every article. MediaWiki's export format (version 0.11) is of one shape: within `<page>` it escapes every `<` of a
 * text, so that the tags are found by looking for them.
 */
async function* articles(xml: AsyncIterable<string>, path: string): AsyncGenerator<string> {
  let buffer = '';
  let pages = 0;
  for await (const piece of xml) {
    buffer += piece;
    let at = 0;
    for (;;) {
      const start = buffer.indexOf('<page>', at);
      const end = start < 0 ? -1 : buffer.indexOf('</page>', start);
      if (end < 0) {
        // What may be the beginning of a tag stays.
        buffer =
          start < 0 ? buffer.slice(Math.max(at, buffer.length - '<page>'.length + 1)) : buffer.slice(start);
        break;
      }
      pages++;
      const text = articleOf(buffer.slice(start, end));
      if (text !== undefined) yield text;
      at = end + '</page>'.length;
    }
    if (buffer.length > longestPage) {
      throw new DataError(
        `${path}: page ${pages + 1} is longer than ${longestPage} characters; it is no article`,
        { path },
      );
    }
  }
  if (buffer.startsWith('<page>'))
    throw new DataError(`${path} ends within page ${pages + 1}; it was cut off`, { path });
  if (pages === 0) {
    throw new DataError(
      `${path} holds no <page>; a dump is an XML file as from dumps.wikimedia.org, such as enwiki-latest-pages-articles.xml.bz2`,
      { path },
    );
  }
}

/** The mark-up of a page that is an article and no redirect. */
function articleOf(page: string): string | undefined {
  const textStart = page.indexOf('<text');
  const head = textStart < 0 ? page : page.slice(0, textStart);
  if (!head.includes('<ns>0</ns>') || head.includes('<redirect')) return undefined;
  const begin = page.indexOf('>', textStart) + 1;
  const end = page.indexOf('</text>', begin);
  if (textStart < 0 || begin === 0 || end < 0) return undefined; // <text/>: nothing was written
  const text = unescaped(page.slice(begin, end));
  return /^\s*#redirect/i.test(text.slice(0, 100)) ? undefined : text;
}

const characters: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
const unescaped = (text: string): string =>
  text.replace(/&(lt|gt|quot|apos|amp);/g, (_, name) => characters[name]);
