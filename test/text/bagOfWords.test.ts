import { readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { ConfigError, DataError } from '#src/errors.js';
import { BagOfWords, type FeatureWeighting, featureWeightings } from '#src/text/bagOfWords.js';
import { WordInventory } from '#src/text/words.js';

interface Fixture {
  documents: string[];
  texts: string[];
  cases: {
    weighting: FeatureWeighting;
    maxNgram: number;
    minCount: number;
    numFeatures: number;
    rows: Record<string, number>[];
  }[];
}

const fixture: Fixture = JSON.parse(readFileSync('test/fixtures/features.json', 'utf8'));

test('features are those of scikit-learn', (t) => {
  const inventory = new WordInventory();
  for (const document of fixture.documents) {
    inventory.add(document);
    inventory.endText();
  }
  const tokenizer = inventory.tokenizer();
  const { vocabSize } = tokenizer;
  const encoded = fixture.documents.map((document) => tokenizer.encode(document));
  for (const { numFeatures, rows, ...options } of fixture.cases) {
    const specialIds = [tokenizer.specialTokens.unk!];
    const bag = BagOfWords.learn(encoded, { vocabSize, specialIds, ...options });
    t.is(bag.numFeatures, numFeatures);
    rows.forEach((row, index) => {
      const { ids, weights } = bag.encode(tokenizer.encode(fixture.texts[index]));
      const found = Object.fromEntries(
        Array.from(ids, (id, place) => [tokenizer.decode(bag.ngramTokens(id)), weights[place]]),
      );
      t.deepEqual(Object.keys(found).sort(), Object.keys(row).sort());
      for (const [name, weight] of Object.entries(row)) {
        t.true(Math.abs(found[name] - weight) < 1e-6, `${name}: ${found[name]}, not ${weight}`);
      }
    });
  }
});

const vocabSize = 5;
const document = fc.array(fc.integer({ min: 0, max: vocabSize - 1 }), { maxLength: 12 });
const options = fc.record({
  weighting: fc.constantFrom(...featureWeightings),
  maxNgram: fc.integer({ min: 1, max: 4 }),
  minCount: fc.integer({ min: 1, max: 3 }),
  specialIds: fc.constantFrom([], [0]),
});

/** How often each n-gram is in a document, by its tokens as text. */
function ngramCounts(ids: readonly number[], maxNgram: number, specialIds: readonly number[]) {
  const counts = new Map<string, number>();
  ids.forEach((_, start) => {
    for (let length = 1; length <= Math.min(maxNgram, ids.length - start); length++) {
      const ngram = ids.slice(start, start + length);
      if (!ngram.some((id) => specialIds.includes(id)))
        counts.set(`${ngram}`, (counts.get(`${ngram}`) ?? 0) + 1);
    }
  });
  return counts;
}

test('a row has every n-gram that is in enough documents, weighted by the formula', (t) => {
  fc.assert(
    fc.property(
      fc.array(document, { minLength: 1, maxLength: 8 }),
      document,
      options,
      (documents, text, chosen) => {
        const { weighting, maxNgram, minCount, specialIds } = chosen;
        const frequencies = new Map<string, number>();
        for (const ids of documents) {
          for (const ngram of ngramCounts(ids, maxNgram, specialIds).keys())
            frequencies.set(ngram, (frequencies.get(ngram) ?? 0) + 1);
        }
        const kept = [...frequencies].filter(([, documents]) => documents >= minCount);
        const learn = () => BagOfWords.learn(documents, { vocabSize, ...chosen });
        if (kept.length === 0) {
          t.throws(learn, { instanceOf: DataError, message: /none is in \d of them/ });
          return;
        }
        const bag = learn();
        const again = BagOfWords.fromJSON(JSON.parse(JSON.stringify(bag.toJSON())));
        t.is(bag.numFeatures, kept.length);
        const weights = [...ngramCounts(text, maxNgram, specialIds)].flatMap(
          ([ngram, count]): [string, number][] => {
            const df = frequencies.get(ngram) ?? 0;
            if (df < minCount) return [];
            if (weighting !== 'tfidf') return [[ngram, weighting === 'binary' ? 1 : count]];
            return [[ngram, count * (Math.log((1 + documents.length) / (1 + df)) + 1)]];
          },
        );
        const length = weighting === 'tfidf' ? Math.hypot(...weights.map(([, weight]) => weight)) : 1;
        const row = bag.encode(text);
        t.deepEqual(again.encode(text), row);
        t.deepEqual(
          [...row.ids],
          [...new Set(row.ids)].sort((a, b) => a - b),
        );
        const found = new Map(
          Array.from(row.ids, (id, place) => [`${bag.ngramTokens(id)}`, row.weights[place]]),
        );
        t.is(found.size, weights.length);
        for (const [ngram, weight] of weights)
          t.true(Math.abs(found.get(ngram)! - weight / length) < 1e-6, ngram);
      },
    ),
    { numRuns: 300 },
  );
});

test('of too many features the heaviest stay', (t) => {
  const bag = BagOfWords.learn([[0, 0, 0, 1, 2, 2, 3]], { vocabSize: 4, weighting: 'counts' });
  const { ids, weights } = bag.encode([3, 2, 2, 1, 0, 0, 0], 3);
  t.deepEqual(
    Array.from(ids, (id) => bag.ngramTokens(id)),
    [[0], [1], [2]],
  );
  t.deepEqual([...weights], [3, 1, 2]);
});

test('options and files that cannot be are refused', (t) => {
  const refusal = (message: RegExp) => ({ instanceOf: DataError, message });
  t.throws(() => BagOfWords.learn([[0]], { vocabSize: 1, maxNgram: 0 }), {
    instanceOf: ConfigError,
    message: /maxNgram must be .* at least 1 but is 0/,
  });
  const json = { kind: 'bag-of-words', weighting: 'tfidf', vocabSize: 3, documents: 2 };
  const ngrams =
    (...ngrams: unknown[]) =>
    () =>
      BagOfWords.fromJSON({ ...json, ngrams });
  t.is(ngrams([-1, 0, 2], [0, 1, 1])().numFeatures, 2);
  t.throws(ngrams([-1, 0, 2], [1, 1, 1]), refusal(/ngrams\.1 is \[1,1,1\]/));
  t.throws(ngrams([-1, 3, 2]), refusal(/ngrams\.0/));
  t.throws(ngrams([-1, 0, 3]), refusal(/ngrams\.0/));
  t.throws(ngrams([-1, 0, 1], [-1, 0, 1]), refusal(/two n-grams are the same/));
  t.throws(ngrams(), refusal(/ngrams/));
  t.throws(ngrams([-1, 0.5, 1]), refusal(/ngrams\.0\.1/));
  t.throws(
    () => BagOfWords.fromJSON({ ...json, weighting: 'bm25', ngrams: [[-1, 0, 1]] }),
    refusal(/weighting/),
  );
  t.throws(() => BagOfWords.fromJSON(null), refusal(/bag of words/));
});
