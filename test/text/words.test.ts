import test from 'ava';
import fc from 'fast-check';
import { DataError } from '#src/errors.js';
import { tokenizerFromJSON } from '#src/text/vocabulary.js';
import { WordInventory } from '#src/text/words.js';

function learnt(text: string, options: Parameters<WordInventory['tokenizer']>[0] = {}) {
  const inventory = new WordInventory();
  inventory.add(text);
  return inventory.tokenizer(options);
}

test('words by falling frequency behind the special tokens; rare ones are unknown', (t) => {
  const tokenizer = learnt('b a b c\nb  a d', { minCount: 2, specialTokens: ['pad'] });
  t.deepEqual(tokenizer.definition.words, ['<pad>', '<unk>', 'b', 'a']);
  t.deepEqual([...tokenizer.encode('a c b <pad>')], [3, 1, 2, 1]);
  t.is(tokenizer.decode([3, 1, 2]), 'a <unk> b');
  t.deepEqual(tokenizer.specialTokens, { pad: 0, unk: 1 });
});

test('a bounded vocabulary keeps the most frequent words', (t) => {
  t.deepEqual(learnt('a b b c c c', { vocabSize: 3 }).definition.words, ['<unk>', 'c', 'b']);
  t.throws(() => learnt('a b', { minCount: 2 }), { instanceOf: DataError, message: /none occurs 2 times/ });
});

test('known words come back, in whatever pieces, also after a trip through JSON', (t) => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'ä', '織', '.'), minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.array(word, { minLength: 1 }), fc.integer({ min: 1, max: 4 }), (words, size) => {
      const text = words.join(' ');
      const tokenizer = tokenizerFromJSON(JSON.parse(JSON.stringify(learnt(text).toJSON())));
      const ids = tokenizer.encode(text);
      t.is(ids.length, words.length);
      t.is(tokenizer.decode(ids), text);
      const encoder = tokenizer.encoder();
      const pieces: number[] = [];
      for (let at = 0; at < text.length; at += size) pieces.push(...encoder.write(text.slice(at, at + size)));
      t.deepEqual([...pieces, ...encoder.end()], [...ids]);
    }),
  );
});
