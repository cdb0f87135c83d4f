import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { DataError } from '../errors.js';
import { decodeUtf8 } from '../text/utf8.js';
import { plainText } from '../text/wikitext.js';
import { bunzip2 } from './bzip2.js';
import type { Corpus } from './corpora.js';
import { bytesOf } from './numberedLines.js';

/** The largest articles have some 2 MB. */
const longestPage = 2 ** 24;
/** What stands before the first page names the site's namespaces: some 5 kB. */
const longestHead = 2 ** 18;

export const isWikipediaDump = (path: string): boolean => /\.xml(\.bz2)?$/i.test(path);

/**
 * A dump of Wikipedia's articles as MediaWiki exports them, `.xml` or `.xml.bz2`, read as a stream: memory does not grow with the
 * dump. Every article is a text of its own; redirects and pages outside the namespace of articles are passed over. What comes is
 * mark-up, which `plainText` takes away.
 *
 * @throws DataError where the file is no such dump, was cut off or is damaged
 */
export async function openWikipediaDump(path: string): Promise<Corpus> {
  const { size, mtimeMs } = await stat(path);
  const texts = (onBytes?: (bytes: number) => void) =>
    articles(decodeUtf8(dumpBytes(path, onBytes), path), path);
  const hidden = hiddenNamespaces(await headOf(decodeUtf8(dumpBytes(path), path), path));
  return {
    name: path,
    inputs: [{ path: resolve(path), bytes: size, modified: mtimeMs }],
    documents: [
      { name: path, bytes: size, pieces: texts, texts, plainText: (text) => plainText(text, hidden) },
    ],
  };
}

async function* dumpBytes(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  const file = bytesOf(path, onBytes);
  yield* /\.bz2$/i.test(path) ? bunzip2(file, path) : file;
}

/** What stands before the first page. */
async function headOf(xml: AsyncIterable<string>, path: string): Promise<string> {
  const refuse = (why: string): DataError =>
    new DataError(
      `${path} ${why}; a dump is an XML file as from dumps.wikimedia.org, such as enwiki-latest-pages-articles.xml.bz2`,
      { path },
    );
  let head = '';
  for await (const piece of xml) {
    head += piece;
    const end = head.indexOf('<page>');
    if (end < 0 && head.length <= longestHead) continue;
    head = head.slice(0, end < 0 ? longestHead : end);
    break;
  }
  // Entities of a document's own could be made to grow without bound; a dump has none.
  if (/<!(?:doctype|entity)/i.test(head))
    throw refuse('declares a document type, which is not read and no dump has');
  if (!/^\s*(?:<\?xml[^<>]*>\s*)?<mediawiki[\s>]/.test(head)) throw refuse('does not begin with <mediawiki>');
  return head;
}

/** Names of the namespaces of media, files and categories in the language of the dump. */
function hiddenNamespaces(head: string): string[] {
  const names = head.matchAll(/<namespace\s[^<>]{0,200}?key="(-2|6|14)"[^<>]{0,200}>([^<>]{1,100})</g);
  return Array.from(names, ([, , name]) => unescaped(name));
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
        const rest = start < 0 ? Math.max(at, buffer.length - '<page>'.length + 1) : start;
        buffer = buffer.slice(rest);
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
  if (pages === 0) throw new DataError(`${path} holds no <page>`, { path });
}

/** The mark-up of a page that is an article and no redirect. */
function articleOf(page: string): string | undefined {
  const textStart = page.search(/<text[\s/>]/);
  const head = textStart < 0 ? page : page.slice(0, textStart);
  if (!head.includes('<ns>0</ns>') || head.includes('<redirect')) return undefined;
  const begin = page.indexOf('>', textStart) + 1;
  const end = page.indexOf('</text>', begin);
  if (textStart < 0 || begin === 0 || end < 0) return undefined; // <text/>: nothing was written
  const text = unescaped(page.slice(begin, end));
  return /^\s*#redirect/i.test(text.slice(0, 100)) ? undefined : text;
}

const characters: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

/** XML's own entities and &#39; and the like, each of which stands for one character. */
const unescaped = (text: string): string =>
  text.replace(/&(?:(lt|gt|quot|apos|amp)|#(\d{1,7}));/g, (whole, name?: string, code?: string) => {
    if (name !== undefined) return characters[name];
    const point = Number(code);
    return point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff) ? String.fromCodePoint(point) : whole;
  });
