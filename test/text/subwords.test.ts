// WordPiece, Unigram and SentencePiece's BPE: against what Hugging Face's tokenizers (Python) made of the same files, see test/fixtures/make_tokenizers.py.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { tokenizerNamed } from '#src/data/tokenizerFile.js';
import { DataError } from '#src/errors.js';
import type { Tokenizer } from '#src/text/tokenizer.js';
import { tokenizerFromJSON, tokenizerSha256 } from '#src/text/vocabulary.js';

const read = (name: string) => JSON.parse(readFileSync(join('test/fixtures', name), 'utf8'));
const names = ['wordpiece', 'unigram', 'words', 'sentencepiece'] as const;
const fileOf = (name: string) => read(`${name}.tokenizer.json`);
const casesOf = (name: string): { text: string; ids: number[]; decoded: string }[] =>
  read(`${name}.tokenizer.cases.json`);
const tokenizers = new Map(names.map((name) => [name, tokenizerFromJSON(fileOf(name))]));

for (const [name, tokenizer] of tokenizers) {
  for (const { text, ids, decoded } of casesOf(name)) {
    test(`${name}: ${JSON.stringify(text)} gives the ids and the text that it gives in Python`, (t) => {
      t.deepEqual([...tokenizer.encode(text)], ids);
      t.is(tokenizer.decode(ids), decoded);
    });
  }

  test(`${name}: a text in pieces gives the tokens of the whole, and so do ids in pieces`, (t) => {
    const parts = fc.constantFrom(
      'the ',
      'loom',
      ' ',
      '\n',
      'é',
      '東',
      '[CLS]',
      '<s>',
      '<loom>',
      ' ☃',
      "n't",
      '.',
    );
    const piece = fc.oneof(parts, fc.string({ unit: 'grapheme', maxLength: 5 }));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const whole = tokenizer.encode(pieces.join(''));
        const encoder = tokenizer.encoder();
        const ids = [...pieces.map((part) => encoder.write(part)), encoder.end()].flatMap((part) => [
          ...part,
        ]);
        t.deepEqual(ids, [...whole]);
        const special = Object.values(tokenizer.specialTokens).filter(
          (id) => id !== tokenizer.specialTokens.unk,
        );
        t.true(ids.every((id) => id < tokenizer.vocabSize && !special.includes(id)));
        const decoder = tokenizer.decoder();
        t.is(ids.map((id) => decoder.write([id])).join('') + decoder.end(), tokenizer.decode(whole));
      }),
      { numRuns: 300 },
    );
  });

  test(`${name}: a stretch without white space is cut, however it comes`, (t) => {
    const text = 'loom東😀'.repeat(9000);
    const encoder = tokenizer.encoder();
    const ids: number[] = [];
    for (let at = 0; at < text.length; at += 7001) ids.push(...encoder.write(text.slice(at, at + 7001)));
    ids.push(...encoder.end());
    t.deepEqual(ids, [...tokenizer.encode(text)]);
  });

  test(`${name}: what it is kept as makes it again`, (t) => {
    const again = tokenizerFromJSON(JSON.parse(JSON.stringify(tokenizer.toJSON())));
    t.true(tokenizerSha256(again).equals(tokenizerSha256(tokenizer)));
    for (const { text, ids } of casesOf(name)) t.deepEqual([...again.encode(text)], ids);
  });
}

test('special tokens are known by how they are written, stand for no text, and unk leaves its mark', async (t) => {
  const tokenizer = (await tokenizerNamed('test/fixtures/wordpiece.tokenizer.json')) as Tokenizer;
  t.like(tokenizer.specialTokens, { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 });
  t.is(tokenizer.decode([2, ...tokenizer.encode('the loom ☃'), 3, 0]), 'the loom [UNK]');
  t.is(tokenizer.units(2), 0);
  const unigram = tokenizers.get('unigram')!;
  t.like(unigram.specialTokens, { pad: 0, eos: 1, bos: 2, unk: 3, mask: 4 });
  t.is(unigram.vocabSize, 501);
  t.true([...unigram.encode('a <loom> here')].includes(500));
});

const refused: [string, (typeof names)[number], (file: ReturnType<typeof fileOf>) => unknown, RegExp][] = [
  [
    'an expression out of the file',
    'wordpiece',
    (file) => ({ ...file, normalizer: { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' } }),
    /normalizer/,
  ],
  [
    'a split by an expression',
    'wordpiece',
    (file) => ({
      ...file,
      pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Removed' },
    }),
    /pre_tokenizer/,
  ],
  [
    'a replacement across words',
    'unigram',
    (file) => ({ ...file, normalizer: { type: 'Replace', pattern: { String: 'a b' }, content: '' } }),
    /normalizer/,
  ],
  [
    'words of any length',
    'wordpiece',
    (file) => ({ ...file, model: { ...file.model, max_input_chars_per_word: 1e9 } }),
    /max_input_chars_per_word/,
  ],
  [
    'byte fallback',
    'unigram',
    (file) => ({ ...file, model: { ...file.model, byte_fallback: true } }),
    /must be false/,
  ],
  ['no unknown token', 'unigram', (file) => ({ ...file, model: { ...file.model, unk_id: null } }), /unk_id/],
  [
    'an unknown token that is none',
    'unigram',
    (file) => ({ ...file, model: { ...file.model, unk_id: 9999 } }),
    /unknown token/,
  ],
  [
    'an unknown token without an id',
    'words',
    (file) => ({ ...file, model: { ...file.model, unk_token: '?!' } }),
    /unknown token/,
  ],
  [
    'scores that are no numbers',
    'unigram',
    (file) => ({ ...file, model: { ...file.model, vocab: [['a', null]] } }),
    /vocab/,
  ],
  [
    'a token twice',
    'unigram',
    (file) => ({ ...file, model: { ...file.model, vocab: [...file.model.vocab, ['▁', -1]] } }),
    /twice/,
  ],
  [
    'holes between ids',
    'words',
    (file) => ({ ...file, model: { ...file.model, vocab: { '[UNK]': 0, a: 9 } } }),
    /no token has the id 2/,
  ],
  [
    'an added token with another id',
    'words',
    (file) => ({ ...file, added_tokens: [{ id: 3, content: 'x', special: true }] }),
    /another token/,
  ],
  [
    'an added token of two words',
    'words',
    (file) => ({ ...file, added_tokens: [{ id: 400, content: 'a b', special: false }] }),
    /reaches beyond a word/,
  ],
  [
    'Unigram without Metaspace',
    'unigram',
    (file) => ({ ...file, pre_tokenizer: { type: 'WhitespaceSplit' } }),
    /must be Metaspace/,
  ],
  [
    'a byte to fall back on that is not there',
    'sentencepiece',
    (file) => {
      const { '<0x80>': _, ...vocab } = file.model.vocab;
      return { ...file, model: { ...file.model, vocab } };
    },
    /no token has the id|<0x80>/,
  ],
  [
    'a merge across words',
    'sentencepiece',
    (file) => {
      const vocab = { ...file.model.vocab, 'a▁': 701 };
      return { ...file, model: { ...file.model, vocab, merges: [...file.model.merges, ['a', '▁']] } };
    },
    /reaches from one word into the next/,
  ],
  [
    'merges of SentencePiece within pieces of its own',
    'sentencepiece',
    (file) => ({ ...file, pre_tokenizer: { type: 'Whitespace' } }),
    /pre_tokenizer/,
  ],
  [
    'a normalizer beside it',
    'sentencepiece',
    (file) => ({ ...file, normalizer: { type: 'NFKC' } }),
    /normalizer/,
  ],
  ['WordPiece without words', 'words', (file) => ({ ...file, pre_tokenizer: null }), /pre_tokenizer/],
];
for (const [what, name, spoil, message] of refused) {
  test(`refuses ${what}`, (t) => {
    t.throws(() => tokenizerFromJSON(spoil(fileOf(name))), { instanceOf: DataError, message });
  });
}

test('whatever stands in a file, a tokenizer or a DataError', (t) => {
  const keys = [
    'type',
    'vocab',
    'normalizer',
    'pre_tokenizer',
    'decoder',
    'model',
    'added_tokens',
    'unk_id',
    'id',
    'content',
  ];
  const value = fc.oneof(
    fc.constant(null),
    fc.constant([]),
    fc.constant({}),
    fc.integer(),
    fc.string(),
    fc.constant('__proto__'),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...names),
      fc.array(fc.tuple(fc.constantFrom(...keys), value), { maxLength: 3 }),
      (name, spoils) => {
        const text = JSON.stringify(fileOf(name), (key, inner) => {
          const spoil = spoils.find(([wanted]) => wanted === key);
          return spoil ? spoil[1] : inner;
        });
        try {
          tokenizerFromJSON(JSON.parse(text)).encode('the loom');
        } catch (error) {
          t.true(error instanceof DataError, String(error));
        }
      },
    ),
    { numRuns: 300 },
  );
});
