import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { DataError } from '#src/errors.js';
import { NamedVectors, rankCorrelation, scoreAnalogies, scoreSimilarity } from '#src/evaluate/wordVectors.js';
import { temporaryFolder } from '../data/folder.js';

const close = (a: number, b: number) => Math.abs(a - b) < 1e-6;

test('rank correlation, with ties', (t) => {
  t.is(rankCorrelation([1, 2, 3, 4], [10, 20, 25, 99]), 1);
  t.is(rankCorrelation([1, 2, 3], [3, 2, 1]), -1);
  // By hand: ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4; products of deviations 4.5, squares 4.5 and 5.
  t.true(close(rankCorrelation([1, 2, 2, 3], [1, 3, 2, 4]), 4.5 / Math.sqrt(4.5 * 5)));
  t.throws(() => rankCorrelation([1], [2]), { instanceOf: DataError });
  // For distinct numbers it is 1 - 6 sum d^2 / (n (n^2 - 1)) (Spearman 1904).
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 1000 }), { minLength: 2, maxLength: 30 }),
      (values) => {
        const rank = (list: number[]) => list.map((value) => list.filter((other) => other < value).length);
        const other = values.map((value) => (value * 7919) % 1009);
        const [x, y] = [rank(values), rank(other)];
        const n = values.length;
        const expected =
          1 - (6 * x.reduce((sum, value, i) => sum + (value - y[i]) ** 2, 0)) / (n * (n * n - 1));
        return close(rankCorrelation(values, other), expected);
      },
    ),
  );
});

/** Gender along the second axis, rank along the first. */
const royal = () =>
  new NamedVectors(
    ['man', 'woman', 'king', 'queen', 'stone'],
    Float32Array.from([0, 1, 0, 0, -1, 0, 4, 1, 0, 4, -1, 0, 0, 0, 2]),
  );

test('neighbours, analogies and similarities', (t) => {
  const vectors = royal();
  t.true(close(vectors.similarity('man', 'woman'), -1));
  const [nearest, next] = vectors.neighbours('king', 2);
  t.is(nearest.word, 'queen');
  t.true(close(nearest.similarity, 15 / 17));
  t.is(next.word, 'man');
  t.is(vectors.neighbours('king').length, 4);
  t.is(vectors.analogy('man', 'king', 'woman')[0].word, 'queen');
  t.throws(() => vectors.neighbours('kin'), { instanceOf: DataError, message: /did you mean 'king'/ });
});

test('files of pairs and of analogies', async (t) => {
  const folder = await temporaryFolder(t);
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const pairs = write('pairs.txt', 'King\tQueen\t9\nman\tstone\t5\nman\twoman\t1.5\nman\tunicorn\t3\n');
  t.deepEqual(await scoreSimilarity(royal(), pairs), { spearman: 1, pairs: 3, total: 4 });
  const questions = write(
    'questions.txt',
    ': family\nman king woman queen\nman king woman stone\nking man x y\n: none\n',
  );
  t.deepEqual(
    (await scoreAnalogies(royal(), questions)).map(({ section, correct, questions }) => [
      section,
      correct,
      questions,
    ]),
    [
      ['family', 1, 2],
      ['none', 0, 0],
      ['total', 1, 2],
    ],
  );
  await t.throwsAsync(scoreSimilarity(royal(), write('bad.txt', 'man king\n')), {
    instanceOf: DataError,
    message: /line 1/,
  });
  await t.throwsAsync(scoreAnalogies(royal(), write('worse.txt', 'man king woman\n')), {
    instanceOf: DataError,
  });
  await t.throwsAsync(scoreSimilarity(royal(), join(folder, 'missing')), { instanceOf: DataError });
});
