import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { TokenFile } from '#src/data/tokenFile.js';
import { TokenFileWriter } from '#src/data/tokenFileWriter.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { DataError } from '#src/errors.js';
import { allocateIds, type TokenIds } from '#src/text/ids.js';
import { temporaryFolder } from './folder.js';

const sha256 = Buffer.from(Array.from({ length: 32 }, (_, i) => i * 7));

async function writeDocuments(
  path: string,
  vocabSize: number,
  documents: readonly TokenIds[],
): Promise<void> {
  const writer = await TokenFileWriter.create(path, vocabSize, sha256);
  for (const ids of documents) {
    writer.beginDocument();
    await writer.write(ids);
  }
  await writer.finish();
}

const someIds = (vocabSize: number, values: readonly number[]): TokenIds => {
  const ids = allocateIds(vocabSize, values.length);
  ids.set(values);
  return ids;
};

test('a file reads as the memory it was written from, at every width', async (t) => {
  const folder = await temporaryFolder(t);
  let files = 0;
  const sample = fc.constantFrom(2, 256, 257, 65_536, 65_537, 2 ** 31).chain((vocabSize) =>
    fc.record({
      vocabSize: fc.constant(vocabSize),
      documents: fc.array(fc.array(fc.nat(vocabSize - 1), { maxLength: 50 }), { minLength: 1, maxLength: 5 }),
      cut: fc.tuple(fc.nat(300), fc.nat(300)),
    }),
  );
  await fc.assert(
    fc.asyncProperty(sample, async ({ vocabSize, documents, cut }) => {
      const path = join(folder, `${files++}.tokens`);
      await writeDocuments(
        path,
        vocabSize,
        documents.map((ids) => someIds(vocabSize, ids)),
      );
      const all = documents.flat();
      const starts = documents.map((_, i) => documents.slice(0, i).flat().length);
      const memory = new MemoryTokens(someIds(vocabSize, all), vocabSize, starts);
      const file = TokenFile.open(path);
      t.is(file.count, memory.count);
      t.is(file.vocabSize, vocabSize);
      t.deepEqual(file.tokenizerSha256, sha256);
      t.deepEqual(file.documents(), memory.documents());
      const position = Math.min(cut[0], all.length);
      const length = Math.min(cut[1], all.length - position);
      for (const source of [memory, file]) {
        const target = new Int32Array(length + 2).fill(-7);
        source.read(position, target, 1, length);
        t.deepEqual([...target], [-7, ...all.slice(position, position + length), -7]);
      }
      file.close();
    }),
    { numRuns: 60 },
  );
});

test('reads beyond either end are refused', async (t) => {
  const path = join(await temporaryFolder(t), 'a.tokens');
  await writeDocuments(path, 10, [Uint8Array.of(1, 2, 3)]);
  const file = TokenFile.open(path);
  t.teardown(() => file.close());
  for (const source of [file, new MemoryTokens(Uint8Array.of(1, 2, 3), 10)]) {
    for (const [position, offset, length] of [
      [0, 0, 4],
      [-1, 0, 1],
      [3, 0, 1],
      [0, 3, 2],
      [0.5, 0, 1],
      [0, -1, 1],
      [0, 0, -1],
    ]) {
      t.throws(() => source.read(position, new Int32Array(4), offset, length), { instanceOf: RangeError });
    }
  }
});

test('an unfinished file does not exist, an aborted one leaves nothing', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.tokens');
  const writer = await TokenFileWriter.create(path, 10, sha256);
  await writer.write(Uint8Array.of(1));
  t.false((await readdir(folder)).includes('a.tokens'));
  await writer.abort();
  t.deepEqual(await readdir(folder), []);
});

test('ids of another width are refused by the writer', async (t) => {
  const writer = await TokenFileWriter.create(join(await temporaryFolder(t), 'a.tokens'), 300, sha256);
  await t.throwsAsync(writer.write(Uint8Array.of(1)), { instanceOf: DataError, message: /ids of 1 bytes/ });
  await writer.abort();
});

/** A little file, changed in one place, must be refused when it is opened. */
const changes: [string, (bytes: Buffer) => Buffer, RegExp][] = [
  ['nothing in it', () => Buffer.alloc(0), /it has 0 bytes/],
  ['half a header', (bytes) => bytes.subarray(0, 40), /it has 40 bytes/],
  ['another magic', (bytes) => write(bytes, () => bytes.write('X', 0)), /does not begin as one/],
  ['a later version', (bytes) => write(bytes, () => bytes.writeUInt32LE(2, 8)), /its version is 2/],
  ['a width that does not fit', (bytes) => write(bytes, () => bytes.writeUInt32LE(4, 12)), /4 bytes an id/],
  ['no vocabulary', (bytes) => write(bytes, () => bytes.writeUInt32LE(0, 24)), /vocabulary of 0/],
  [
    'a huge count',
    (bytes) => write(bytes, () => bytes.writeBigUInt64LE(2n ** 63n, 16)),
    /claims 9223372036854775808 tokens/,
  ],
  [
    'a count too large',
    (bytes) => write(bytes, () => bytes.writeBigUInt64LE(20n, 16)),
    /asks for 96 bytes, but it has 80/,
  ],
  [
    'too many documents',
    (bytes) => write(bytes, () => bytes.writeUInt32LE(0xffffffff, 28)),
    /header asks for/,
  ],
  ['its end cut off', (bytes) => bytes.subarray(0, 79), /asks for 80 bytes, but it has 79/],
  ['something behind its end', (bytes) => Buffer.concat([bytes, Buffer.of(0)]), /but it has 81/],
];

function write(bytes: Buffer, change: () => unknown): Buffer {
  change();
  return bytes;
}

for (const [what, change, message] of changes) {
  test(`refuses a file with ${what}`, async (t) => {
    const path = join(await temporaryFolder(t), 'a.tokens');
    await writeDocuments(path, 10, [Uint8Array.of(1, 2, 3)]);
    await writeFile(path, change(await readFile(path)));
    t.throws(() => TokenFile.open(path), { instanceOf: DataError, message });
  });
}

test('refuses what is missing or a folder', async (t) => {
  const folder = await temporaryFolder(t);
  t.throws(() => TokenFile.open(join(folder, 'none')), {
    instanceOf: DataError,
    message: /cannot open the token file/,
  });
  t.throws(() => TokenFile.open(folder), { instanceOf: DataError, message: /it is no file/ });
});

test('an id beyond the vocabulary and a document out of order are refused when they are read', async (t) => {
  const path = join(await temporaryFolder(t), 'a.tokens');
  await writeDocuments(path, 10, [Uint8Array.of(1), Uint8Array.of(2)]);
  const bytes = await readFile(path);
  bytes[64] = 10;
  bytes.writeBigUInt64LE(3n, 80);
  await writeFile(path, bytes);
  const file = TokenFile.open(path);
  t.teardown(() => file.close());
  t.throws(() => file.read(0, new Int32Array(2), 0, 2), {
    instanceOf: DataError,
    message: /token id 10, but its vocabulary has 10/,
  });
  t.throws(() => file.documents(), { instanceOf: DataError, message: /document 1 begins at token 3/ });
});

test('a file that is cut or closed while open is refused when it is read', async (t) => {
  const path = join(await temporaryFolder(t), 'a.tokens');
  await writeDocuments(path, 10, [Uint8Array.of(1, 2, 3)]);
  const file = TokenFile.open(path);
  await truncate(path, 65);
  t.throws(() => file.read(0, new Int32Array(3), 0, 3), {
    instanceOf: DataError,
    message: /ended at byte 65/,
  });
  file.close();
  file.close();
  t.throws(() => file.read(0, new Int32Array(1), 0, 1), { instanceOf: DataError, message: /is closed/ });
});

test('any bytes are read right or refused with a DataError', async (t) => {
  const path = join(await temporaryFolder(t), 'a.tokens');
  await writeDocuments(path, 300, [Uint16Array.of(1, 2, 299), Uint16Array.of(4)]);
  const original = await readFile(path);
  const edits = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(edits, fc.nat(original.length), async (changed, length) => {
      const bytes = Buffer.from(original);
      for (const [at, value] of changed) bytes[at] = value;
      await writeFile(path, length % 3 === 0 ? bytes.subarray(0, length) : bytes);
      let file: TokenFile | undefined;
      try {
        file = TokenFile.open(path);
        const target = new Int32Array(file.count);
        file.read(0, target, 0, file.count);
        file.documents();
        t.true(target.every((id) => id >= 0 && id < file!.vocabSize));
      } catch (error) {
        t.true(error instanceof DataError, String(error));
      } finally {
        file?.close();
      }
    }),
    { numRuns: 2000 },
  );
});
