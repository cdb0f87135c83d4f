import test from 'ava';
import fc from 'fast-check';
import { aliasTable, SkipGramData } from '#src/data/skipGrams.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { DataError } from '#src/errors.js';
import { WordInventory } from '#src/text/words.js';

test('an alias table gives every entry its share', (t) => {
  const weights = fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(
      weights.filter((list) => list.some((weight) => weight > 0)),
      (list) => {
        const { probability, alias } = aliasTable(list);
        const share = new Float64Array(list.length);
        probability.forEach((value, index) => {
          share[index] += value / list.length;
          share[alias[index]] += (1 - value) / list.length;
        });
        const total = list.reduce((sum, weight) => sum + weight, 0);
        return list.every((weight, index) => Math.abs(share[index] - weight / total) < 1e-6);
      },
    ),
  );
  t.pass();
});

test('chunks cover the text, with -1 for unknown words and behind the end', (t) => {
  const inventory = new WordInventory();
  const text = 'a b a c a b d a';
  inventory.add(text);
  const tokenizer = inventory.tokenizer({ minCount: 2 }); // unk, a, b
  const source = new MemoryTokens(tokenizer.encode(text), tokenizer.vocabSize);
  const data = new SkipGramData(source, tokenizer, { chunkLength: 5, subsample: 0.1 });
  t.is(data.words, 6);
  t.is(data.chunksPerEpoch, 2);
  const ids = new Int32Array(5);
  const chunks = [0, 1, 2].map((step) => {
    data.chunkAt(step, ids);
    return [...ids];
  });
  t.deepEqual(chunks[0], [1, 2, 1, -1, 1]);
  t.deepEqual(chunks[1], [2, -1, 1, -1, -1]);
  t.deepEqual(chunks[2], chunks[0]);
  const ratio = 0.1 / (4 / 6);
  t.true(Math.abs(data.keep[1] - (Math.sqrt(ratio) + ratio)) < 1e-6);
  t.throws(
    () =>
      new SkipGramData(new MemoryTokens(Uint8Array.of(0, 0), 3), tokenizer, { chunkLength: 5, subsample: 0 }),
    { instanceOf: DataError },
  );
});
