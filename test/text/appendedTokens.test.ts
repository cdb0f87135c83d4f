import test from 'ava';
import fc from 'fast-check';
import { DataError } from '#src/errors.js';
import { appendTokens, extendTokenizer, modelTokens } from '#src/text/appendedTokens.js';
import { ByteTokenizer } from '#src/text/bytes.js';

test('special tokens that a tokenizer lacks stand behind its vocabulary, in the order of their names', (t) => {
  t.deepEqual(appendTokens(new ByteTokenizer(), ['bos', 'eos']), {
    ids: { bos: 256, eos: 257 },
    vocabSize: 258,
  });
  t.deepEqual(appendTokens(new ByteTokenizer(['eos']), ['bos', 'eos']), {
    ids: { bos: 257, eos: 256 },
    vocabSize: 258,
  });
});

test('an extended tokenizer reads and writes the same text, whatever appended ids stand between', (t) => {
  const plain = new ByteTokenizer();
  t.is(extendTokenizer(plain, modelTokens.encoderDecoder, 256), plain);
  const extended = extendTokenizer(plain, modelTokens.encoderDecoder, 300);
  t.deepEqual(extended.specialTokens, { bos: 256, eos: 257 });
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.array(fc.integer({ min: 256, max: 299 })),
      (text, ids) => {
        const own = Array.from(extended.encode(text));
        t.deepEqual(own, Array.from(plain.encode(text)));
        const at = Math.floor(own.length / 2);
        const mixed = [...own.slice(0, at), ...ids, ...own.slice(at)];
        const decoder = extended.decoder();
        return (
          extended.decode(mixed) === text &&
          mixed.map((id) => decoder.write([id])).join('') + decoder.end() === text &&
          mixed.reduce((sum, id) => sum + extended.units(id), 0) === own.length
        );
      },
    ),
  );
  t.throws(() => extended.decode([300]), { instanceOf: DataError, message: /0 … 299/ });
  t.is(extendTokenizer(plain, ['bos', 'eos'], 257).specialTokens.eos, undefined, 'the model has no such row');
});
