import { existsSync, readFileSync } from 'node:fs';
import { Tokenizer as Peer } from '@huggingface/tokenizers';
import test from 'ava';
import fc from 'fast-check';
import { ConfigError, DataError } from '#src/errors.js';
import { BpeTrainer } from '#src/text/bpeTrainer.js';
import { Composer } from '#src/text/composer.js';
import { gpt2Tokenizer } from '#src/text/gpt2Files.js';
import { specialTokenNames } from '#src/text/specialTokens.js';
import { pieceEnds, type SplitPattern, splitExpressions, splitPieces } from '#src/text/splitPattern.js';
import { tokenizerFromJSON } from '#src/text/vocabulary.js';

const prose =
  "The heddle guides the warp threads; don't pull them. It's 12,345 threads!  Zwei Fäden, drei Schäfte…\n\n\tweft 織物 🧵🧵 we'll see\n";

function learnt(text: string, vocabSize: number, pattern: SplitPattern = 'gpt2') {
  const trainer = new BpeTrainer({ vocabSize, pattern, specialTokens: ['pad', 'bos', 'eos'] });
  trainer.add(text);
  return trainer.tokenizer();
}

/** UTF-8 has no form for half of a surrogate pair. */
const hasHalfPair = (text: string) => /\p{Surrogate}/u.test(text);

const unicode = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({
    unit: fc.constantFrom(
      'a',
      'b',
      ' ',
      "'",
      's',
      're',
      '\n',
      '\r',
      '1',
      '2',
      'ä',
      '織',
      '🧵',
      '.',
      '\u00a0',
      '\u2003',
    ),
  }),
);

for (const pattern of Object.keys(splitExpressions) as SplitPattern[]) {
  test(`${pattern}: any text comes back, in whatever pieces it is encoded and decoded`, (t) => {
    const tokenizer = learnt(prose.repeat(3), 420, pattern);
    fc.assert(
      fc.property(fc.array(unicode), fc.integer({ min: 1, max: 5 }), (pieces, size) => {
        const text = pieces.join('');
        if (hasHalfPair(text)) return;
        const ids = tokenizer.encode(text);
        t.is(tokenizer.decode(ids), text);
        const encoder = tokenizer.encoder();
        const inPieces = pieces.flatMap((piece) => [...encoder.write(piece)]);
        t.deepEqual([...inPieces, ...encoder.end()], [...ids]);
        const decoder = tokenizer.decoder();
        let streamed = '';
        for (let at = 0; at < ids.length; at += size) streamed += decoder.write(ids.subarray(at, at + size));
        t.is(streamed + decoder.end(), text);
        t.is(
          Array.from(ids, (id) => tokenizer.units(id)).reduce((a, b) => a + b, 0),
          [...text].length,
        );
      }),
    );
  });

  test(`${pattern}: pieces are those of the published expression`, (t) => {
    // JavaScript's \s has U+FEFF and lacks U+0085: such texts are left out.
    const expression = new RegExp(
      splitExpressions[pattern].replace(/^\(\?i:(.*?)\)/, (_, inner) => anyCase(inner)),
      'gu',
    );
    fc.assert(
      fc.property(unicode, (text) => {
        if (hasHalfPair(text) || /[\ufeff\u0085]/.test(text)) return;
        const pieces: string[] = [];
        splitPieces(pieceEnds[pattern], text, 0, text.length, true, (from, to) =>
          pieces.push(text.slice(from, to)),
        );
        t.deepEqual(pieces, text.match(expression) ?? []);
      }),
      { numRuns: 1000 },
    );
  });
}

/** `(?i:...)` for the letters of English contractions. */
const anyCase = (inner: string) =>
  `(?:${inner.replace(/[a-z]/g, (letter) => `[${letter}${letter.toUpperCase()}${letter === 's' ? '\u017f' : ''}]`)})`;

test('a trained tokenizer and its tokenizer.json give the same ids, here and in another reader', (t) => {
  const tokenizer = learnt(prose.repeat(3), 400);
  t.is(tokenizer.specialTokens.pad, tokenizer.vocabSize - 3);
  const json = JSON.parse(JSON.stringify(tokenizer.toJSON()));
  const again = tokenizerFromJSON(json);
  const peer = new Peer(json, {});
  fc.assert(
    fc.property(unicode, (text) => {
      if (hasHalfPair(text) || /[\ufeff\u0085]/.test(text)) return;
      const ids = [...tokenizer.encode(text)];
      t.deepEqual([...again.encode(text)], ids);
      t.deepEqual(peer.encode(text, { add_special_tokens: false }).ids, ids);
    }),
  );
});

test('learning merges what is most frequent, and the same whatever the pieces', (t) => {
  const text = 'aaab aaab aaab ab ab cd';
  const trainer = new BpeTrainer({ vocabSize: 259 });
  for (const letter of text) trainer.add(letter);
  const { merges } = trainer.tokenizer().definition;
  // Pairs of " aaab"x2, "aaab", " ab"x2, " cd": aa 6, " a" 4, ab 5; after aa: "aa a" 3, " aa" 2, ab 5 ...
  t.deepEqual(merges.slice(0, 2), [
    [97, 97, 256],
    [97, 98, 257],
  ]);
  t.deepEqual(merges, learntMerges(text));
  t.is(new BpeTrainer({ vocabSize: 256, minCount: 2 }).tokenizer.length, 0);
});

function learntMerges(text: string) {
  const trainer = new BpeTrainer({ vocabSize: 259 });
  trainer.add(text);
  return trainer.tokenizer().definition.merges;
}

test('merges are those of the algorithm as published', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 8 }), {
        minLength: 1,
      }),
      (words) => {
        const text = words.join(' ');
        const trainer = new BpeTrainer({ vocabSize: 256 + 12 });
        trainer.add(text);
        const { merges, tokens } = trainer.tokenizer().definition;
        t.deepEqual(
          merges.map(([, , merged]) => Buffer.from(tokens[merged]!).toString()),
          slowMerges(text, 12),
        );
      },
    ),
  );
});

/** Sennrich et al. 2016, algorithm 1, word by word: what each merge makes. Of equal counts the smallest pair of ids goes first. */
function slowMerges(text: string, count: number): string[] {
  const words = (text.match(/ ?[abc]+| +/g) ?? []).map((word) => [...Buffer.from(word)].map(Number));
  const names = new Map<number, string>();
  const nameOf = (id: number) => names.get(id) ?? String.fromCharCode(id);
  const made: string[] = [];
  while (made.length < count) {
    const counts = new Map<string, number>();
    for (const word of words)
      for (let at = 1; at < word.length; at++) {
        const pair = `${word[at - 1]},${word[at]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    const ids = (pair: string) => pair.split(',').map(Number);
    const [best] = [...counts].sort(
      ([a, x], [b, y]) => y - x || ids(a)[0] - ids(b)[0] || ids(a)[1] - ids(b)[1],
    );
    if (!best || best[1] < 2) break;
    const [left, right] = ids(best[0]);
    const name = nameOf(left) + nameOf(right);
    const known = [...names].find(([, other]) => other === name)?.[0];
    const merged = known ?? 256 + names.size;
    names.set(merged, name);
    if (known === undefined) made.push(name);
    for (const word of words)
      for (let at = 0; at + 1 < word.length; at++)
        if (word[at] === left && word[at + 1] === right) word.splice(at, 2, merged);
  }
  return made;
}

const folder = '../shared/data/gpt2-bpe';
const gpt2 = existsSync(folder) ? test : test.skip;
const readShared = (path: string) => readFileSync(`../shared/data/${path}`, 'utf8');

gpt2(
  'GPT-2: every line of Multi30k and tinyshakespeare comes back, with the ids of @huggingface/tokenizers',
  (t) => {
    const tokenizer = gpt2Tokenizer(readShared('gpt2-bpe/encoder.json'), readShared('gpt2-bpe/vocab.bpe'));
    t.is(tokenizer.vocabSize, 50257);
    t.is(tokenizer.specialTokens.eos, 50256);
    const peer = new Peer(JSON.parse(JSON.stringify(tokenizer.toJSON())), {});
    const files = ['train.en', 'train.de', 'val.en', 'val.de'].map((name) => `multi30k/${name}`);
    let lines = 0;
    for (const file of [...files, 'tinyshakespeare.txt']) {
      for (const line of readShared(file).split('\n')) {
        const ids = tokenizer.encode(line);
        lines++;
        if (tokenizer.decode(ids) !== line) t.fail(`${file}: ${line}`);
        const expected = peer.encode(line, { add_special_tokens: false }).ids;
        if (expected.length !== ids.length || expected.some((id: number, at: number) => id !== ids[at]))
          t.fail(`${file}: ${line}`);
      }
    }
    t.log(`${lines} lines`);
    t.true(lines > 90_000);
  },
);

test('what cannot be learnt is refused', (t) => {
  t.throws(() => new BpeTrainer({ vocabSize: 200 }), { instanceOf: ConfigError, message: /256 bytes/ });
  t.throws(() => new BpeTrainer({ vocabSize: 300 }).tokenizer(), { instanceOf: DataError, message: /empty/ });
});

test('a file that composes characters does so however the text is cut, and is written as it was read', (t) => {
  const file = json();
  file.normalizer = { type: 'NFC' };
  const composing = tokenizerFromJSON(file);
  t.deepEqual(tokenizerFromJSON(composing.toJSON()).encode('cafe\u0301'), composing.encode('caf\u00e9'));
  t.deepEqual((composing.toJSON() as unknown as TokenizerFile).normalizer, { type: 'NFC' });
  const plain = tokenizerFromJSON({ ...json(), normalizer: { type: 'Sequence', normalizers: [] } });
  t.is(plain.decode(plain.encode('cafe\u0301')), 'cafe\u0301');

  // A letter, two accents of one place and one below it, Hangul jamo, voiced kana, ideographs, spaces.
  const units = [
    'e',
    '\u0301',
    '\u0302',
    '\u0323',
    '\u1100',
    '\u1161',
    '\u11a8',
    '\u304b',
    '\u3099',
    '\u4e2d',
    ' ',
    'x',
  ];
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.constantFrom(...units), { maxLength: 5 }), { maxLength: 12 }),
      (pieces) => {
        const texts = pieces.map((piece) => piece.join(''));
        const encoder = composing.encoder();
        const ids = [...texts.flatMap((text) => [...encoder.write(text)]), ...encoder.end()];
        const whole = texts.join('');
        t.deepEqual(ids, [...composing.encode(whole)]);
        t.is(composing.decode(ids), whole.normalize('NFC'));
      },
    ),
  );
  // Nothing in it begins a composition for certain: it is let go in time.
  t.true(new Composer().write('\u0301'.repeat(40_000), false).length > 20_000);
});

/** What the files below are changed through. */
interface TokenizerFile {
  normalizer: unknown;
  pre_tokenizer: unknown;
  model: { type: string; vocab: Record<string, number>; merges: unknown[] };
  [key: string]: unknown;
}

const json = (): TokenizerFile => JSON.parse(JSON.stringify(learnt(prose, 300).toJSON()));
const refused: readonly [what: string, change: (file: TokenizerFile) => void, message: RegExp][] = [
  [
    'an expression of its own',
    (file) => {
      file.pre_tokenizer = { type: 'Split', pattern: { Regex: '(a+)+$' } };
    },
    /pre_tokenizer/,
  ],
  [
    'a normalizer',
    (file) => {
      file.normalizer = { type: 'Lowercase' };
    },
    /normalizer: is not supported; only files without one, or with NFC/,
  ],
  [
    'another kind of model',
    (file) => {
      file.model.type = 'Bigram';
    },
    /model/,
  ],
  [
    'a merge of unknown tokens',
    (file) => {
      file.model.merges.push('qq zz');
    },
    /merge "qq zz"/,
  ],
  [
    'a merge of three',
    (file) => {
      file.model.merges.push('a b c');
    },
    /merge/,
  ],
  [
    'a hole in the ids',
    (file) => {
      file.model.vocab.zzzz = 5000;
    },
    /no token has the id/,
  ],
  [
    'an id twice',
    (file) => {
      file.model.vocab.zzzz = 7;
    },
    /id 7/,
  ],
  [
    'an id without end',
    (file) => {
      file.model.vocab.zzzz = 2 ** 40;
    },
    /zzzz/,
  ],
  [
    'a missing byte',
    (file) => {
      delete file.model.vocab['!'];
      file.model.vocab.ĀĀĀ = 33;
    },
    /byte|merge/,
  ],
  [
    'characters that are no bytes',
    (file) => {
      const [name] = Object.entries(file.model.vocab).find(([, id]) => id === 256)!;
      delete file.model.vocab[name];
      file.model.vocab['€€'] = 256;
    },
    /no byte/,
  ],
  [
    'a name of a prototype',
    (file) => {
      file.model.merges.push('constructor toString');
    },
    /merge/,
  ],
];
for (const [what, change, message] of refused) {
  test(`tokenizer.json refused: ${what}`, (t) => {
    const file = json();
    change(file);
    t.throws(() => tokenizerFromJSON(file), { instanceOf: DataError, message });
  });
}

test('tokenizer.json: whatever comes, a tokenizer or a DataError, soon', (t) => {
  const paths = ['model', 'added_tokens', 'pre_tokenizer', 'normalizer'];
  fc.assert(
    fc.property(
      fc.constantFrom(...paths),
      fc.constantFrom('', 'vocab', 'merges', 'type', '0'),
      fc.jsonValue(),
      (path, inner, value) => {
        const file = json();
        const outer = file[path];
        if (inner && outer && typeof outer === 'object') (outer as Record<string, unknown>)[inner] = value;
        else file[path] = value;
        try {
          tokenizerFromJSON(file).encode('a b');
        } catch (error) {
          t.true(error instanceof DataError, String(error));
        }
      },
    ),
    { numRuns: 300 },
  );
  t.is(specialTokenNames.length, 7);
});
