import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { writeSafetensors } from '#src/checkpoint/safetensors.js';
import { CheckpointError, DataError } from '#src/errors.js';
import { readVectors, writeVectors } from '#src/evaluate/vectorFiles.js';
import { NamedVectors, openVectors } from '#src/evaluate/wordVectors.js';
import { temporaryFolder } from '../data/folder.js';

const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).filter((text) => !/\s/.test(text));
const number = fc.float({ noNaN: true, noDefaultInfinity: true });
const table = (words: fc.Arbitrary<string>) =>
  fc.integer({ min: 1, max: 4 }).chain((size) =>
    fc.array(fc.tuple(words, fc.array(number, { minLength: size, maxLength: size })), {
      minLength: 1,
      maxLength: 12,
    }),
  );

test('both formats give back every word and every bit', async (t) => {
  const folder = await temporaryFolder(t);
  const round = async (path: string, rows: [string, number[]][]) => {
    const written = {
      words: rows.map(([each]) => each),
      vectors: Float32Array.from(rows.flatMap(([, row]) => row)),
    };
    await writeVectors(path, written);
    const read = await readVectors(path);
    t.deepEqual(read, written);
  };
  await fc.assert(
    fc.asyncProperty(table(word), (rows) => round(join(folder, 'vectors.txt'), rows)),
    {
      numRuns: 50,
    },
  );
  const anything = fc.string({ unit: 'binary', maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(table(anything), (rows) => round(join(folder, 'vectors.safetensors'), rows)),
    { numRuns: 20 },
  );
});

test("text is word2vec's, with a mark where a word has white space", async (t) => {
  const path = join(await temporaryFolder(t), 'vectors.txt');
  const vectors = new NamedVectors(['king', ' the', ''], Float32Array.from([4, 1, -0.5, 0, 1e-7, 2]));
  await vectors.export(path);
  t.is(readFileSync(path, 'utf8'), '3 2\nking 4 1\n\u2581the -0.5 0\n\u2581 1.0000000116860974e-7 2\n');
  const opened = await openVectors(path);
  t.deepEqual(opened.words, ['king', '\u2581the', '\u2581']);
  t.deepEqual(opened.vectors, vectors.vectors);
  writeFileSync(path, '2 3\r\nloom 1 2 3 \r\nreed 4 5 6 \r\n\r\n');
  t.deepEqual((await readVectors(path)).words, ['loom', 'reed'], "as word2vec.c ends its lines, or Windows'");
});

test('files that hold something else are refused, texts with their line', async (t) => {
  const folder = await temporaryFolder(t);
  const wrong: [text: string, message: RegExp][] = [
    ['', /ends after 0 vectors/],
    ['loom 1 2\n', /:1 must be the number of words/],
    ['0 3\n', /:1 must be/],
    ['2 2\nloom 1 2\n', /ends after 1 vectors; its first line promises 2/],
    ['1 2\nloom 1 2\nreed 1 2\n', /:3 is one vector more than the 1/],
    ['2 2\nloom 1 2\nreed 1\n', /:3 must be a word and 2 numbers/],
    ['1 2\nloom 1 x\n', /:2 must be a word and 2 numbers/],
    ['1 2\nloom 1 Infinity\n', /:2 must be/],
    ['1 2\nloom 1  2\n', /:2 must be/],
    ['999999999 999999\nloom 1\n', /:1 promises more vectors than 24 bytes can hold/],
  ];
  for (const [text, message] of wrong) {
    const path = join(folder, 'wrong.txt');
    writeFileSync(path, text);
    await t.throwsAsync(openVectors(path), { instanceOf: DataError, message }, JSON.stringify(text));
  }
  const path = join(folder, 'wrong.safetensors');
  const tensor = { name: 'vectors', dtype: 'F32', shape: [2, 1], source: new Uint8Array(8) } as const;
  for (const words of ['["a"]', '{}', '[1,2]', 'no']) {
    await writeSafetensors(path, [tensor], { words });
    await t.throwsAsync(openVectors(path), { instanceOf: DataError, message: /no vectors with their words/ });
  }
  writeFileSync(path, 'text');
  await t.throwsAsync(openVectors(path), { instanceOf: CheckpointError });
  const vectors = new NamedVectors(['a'], Float32Array.of(1));
  await t.throwsAsync(vectors.export(join(folder, 'none', 'v.txt')), {
    instanceOf: DataError,
    message: /cannot write/,
  });
  await t.throwsAsync(vectors.export(join(folder, 'none', 'v.safetensors')), { instanceOf: CheckpointError });
});
