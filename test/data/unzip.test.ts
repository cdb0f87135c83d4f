import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { openZippedText } from '#src/data/unzip.js';
import { DataError } from '#src/errors.js';
import { temporaryFolder } from './folder.js';
import { type ZipOverrides, zip } from './zip.js';

async function zipFile(
  t: ExecutionContext,
  entries: Record<string, string | Buffer>,
  overrides?: ZipOverrides,
) {
  const path = join(await temporaryFolder(t), 'a.zip');
  await writeFile(path, zip(entries, overrides));
  return path;
}

async function inflate(path: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of (await openZippedText(path)).pieces()) pieces.push(piece);
  return Buffer.concat(pieces);
}

test('gives the bytes of the only file, more than once', async (t) => {
  const text = Buffer.from('some text that is repeated. '.repeat(10_000));
  const path = await zipFile(t, { 'folder/': '', 'folder/text8': text });
  const { entryName, bytes, pieces } = await openZippedText(path);
  t.is(entryName, 'folder/text8');
  t.is(bytes, text.length);
  for (let round = 0; round < 2; round++) {
    const parts: Uint8Array[] = [];
    for await (const piece of pieces()) parts.push(piece);
    t.true(Buffer.concat(parts).equals(text));
  }
});

test('stopping in the middle closes the file', async (t) => {
  const path = await zipFile(t, { a: Buffer.alloc(1 << 20, 'abc') });
  const openFiles = (): number => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);
  const before = openFiles();
  for (let i = 0; i < 100; i++) {
    for await (const _ of (await openZippedText(path)).pieces()) break;
  }
  t.true(openFiles() < before + 50); // other tests open files too
  t.is((await inflate(path)).length, 1 << 20);
});

const refused: [string, Record<string, string | Buffer>, ZipOverrides, RegExp][] = [
  ['no file', { 'folder/': '' }, {}, /must hold exactly one text file/],
  ['two files', { a: 'x', b: 'y' }, {}, /must hold exactly one text file/],
  ['a path that leads out', { '../a': 'x' }, {}, /no valid zip file: invalid relative path/],
  ['encryption', { a: 'x' }, { encrypted: true }, /is encrypted/],
  ['a wrong checksum', { a: 'some text' }, { crc: 1 }, /the checksum of a is wrong/],
  ['a size too small', { a: 'some text' }, { size: 3 }, /no valid zip file: too many bytes/],
  ['a size too large', { a: 'some text' }, { size: 30 }, /no valid zip file: not enough bytes/],
  ['a bomb', { a: Buffer.alloc(65 * 2 ** 20) }, {}, /claims to inflate from \d+ to 68157440 bytes/],
];
for (const [what, entries, overrides, message] of refused) {
  test(`refuses a zip with ${what}`, async (t) => {
    await t.throwsAsync(inflate(await zipFile(t, entries, overrides)), { instanceOf: DataError, message });
  });
}

test('refuses what is no zip', async (t) => {
  const path = join(await temporaryFolder(t), 'a.zip');
  await writeFile(path, 'not a zip');
  await t.throwsAsync(inflate(path), { instanceOf: DataError, message: /is no valid zip file/ });
  await t.throwsAsync(inflate(`${path}.none`), { instanceOf: DataError, message: /is no valid zip file/ });
});

test('a damaged zip gives the right bytes or a DataError', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.zip');
  const text = Buffer.from('the quick brown fox jumps over the lazy dog');
  const original = zip({ text8: text });
  const edits = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(edits, fc.option(fc.nat(original.length)), async (changed, length) => {
      const bytes = Buffer.from(original);
      for (const [at, value] of changed) bytes[at] = value;
      await writeFile(path, bytes.subarray(0, length ?? bytes.length));
      try {
        t.true((await inflate(path)).equals(text));
      } catch (error) {
        t.true(error instanceof DataError, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});
