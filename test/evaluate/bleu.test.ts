import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import { DataError } from '#src/errors.js';
import { bleu, words13a } from '#src/evaluate/bleu.js';

interface Fixture {
  words: { line: string; words: string[] }[];
  groups: {
    name: string;
    translations: string[];
    references: string[];
    score: number;
    precisions: number[];
    brevityPenalty: number;
    length: number;
    referenceLength: number;
  }[];
}
// Made by test/fixtures/make_bleu.py.
const fixture = JSON.parse(readFileSync('test/fixtures/bleu.json', 'utf8')) as Fixture;

for (const { line, words } of fixture.words) {
  test(`words of ${JSON.stringify(line)}`, (t) => t.deepEqual(words13a(line), words));
}

for (const { name, translations, references, ...expected } of fixture.groups) {
  test(`BLEU as sacreBLEU's: ${name}`, (t) => {
    const found = bleu(translations, references);
    t.true(
      Math.abs(found.score - expected.score) < 1e-9,
      `${found.score} where ${expected.score} is expected`,
    );
    t.true(Math.abs(found.brevityPenalty - expected.brevityPenalty) < 1e-12);
    t.deepEqual([found.length, found.referenceLength], [expected.length, expected.referenceLength]);
    if (expected.score > 0)
      found.precisions.forEach((precision, order) => {
        t.true(Math.abs(precision - expected.precisions[order]) < 1e-9);
      });
  });
}

const corpus = '../shared/data/multi30k/val.de';
(existsSync(corpus) ? test : test.skip)('a corpus against itself scores 100', (t) => {
  const lines = readFileSync(corpus, 'utf8').trimEnd().split('\n');
  t.true(Math.abs(bleu(lines, lines).score - 100) < 1e-9);
});

test('unequal sides are refused with both counts', (t) => {
  t.throws(() => bleu(['a', 'b'], ['a']), {
    instanceOf: DataError,
    message: /2 translations and 1 references/,
  });
});
