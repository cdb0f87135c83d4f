import test from 'ava';
import fc from 'fast-check';
import { DataError } from '#src/errors.js';
import { ByteTokenizer } from '#src/text/bytes.js';
import { CharacterInventory, CharacterTokenizer } from '#src/text/characters.js';
import type { Tokenizer } from '#src/text/tokenizer.js';
import { canonicalTokenizerJson, tokenizerFromJSON, tokenizerSha256 } from '#src/text/vocabulary.js';

const unicode = fc.string({ unit: 'binary' });
const unicodeNonEmpty = fc.string({ unit: 'binary', minLength: 1 });

test('bytes: ids are the bytes of UTF-8', (t) => {
  const tokenizer = new ByteTokenizer();
  t.deepEqual([...tokenizer.encode('aé')], [0x61, 0xc3, 0xa9]);
  t.is(tokenizer.vocabSize, 256);
  t.is(tokenizer.unit, 'byte');
});

test('characters: ids follow the order of the code points', (t) => {
  const tokenizer = CharacterTokenizer.fromText('b😀a b');
  t.is(tokenizer.vocabSize, 4);
  t.deepEqual([...tokenizer.encode(' ab😀')], [0, 1, 2, 3]);
  t.deepEqual(tokenizer.toJSON(), { kind: 'characters', characters: ' ab😀' });
});

test('characters: the width of ids follows the vocabulary', (t) => {
  const wide = CharacterTokenizer.fromText(
    Array.from({ length: 257 }, (_, i) => String.fromCodePoint(i)).join(''),
  );
  t.true(wide.encode('a') instanceof Uint16Array);
  t.true(CharacterTokenizer.fromText('a').encode('a') instanceof Uint8Array);
});

test('characters: an unknown one is named with its place', (t) => {
  const tokenizer = CharacterTokenizer.fromText('abc');
  const error = t.throws(() => tokenizer.encode('ab\u{1f600}', 100), { instanceOf: DataError });
  t.regex(error.message, /unknown character "😀" \(U\+1F600\) at offset 102/);
  t.throws(() => tokenizer.encode('\n'), { message: /unknown character "\\n" \(U\+000A\) at offset 0/ });
});

test('characters: no text and half characters are refused', (t) => {
  t.throws(() => CharacterTokenizer.fromText(''), { instanceOf: DataError, message: /text is empty/ });
  t.throws(() => CharacterTokenizer.fromText('a\ud800'), {
    instanceOf: DataError,
    message: /U\+D800 at offset 1/,
  });
});

test('characters: an inventory of pieces is that of the whole', (t) => {
  fc.assert(
    fc.property(fc.array(unicodeNonEmpty, { minLength: 1 }), (pieces) => {
      const inventory = new CharacterInventory();
      for (const piece of pieces) inventory.add(piece);
      t.deepEqual(inventory.tokenizer().toJSON(), CharacterTokenizer.fromText(pieces.join('')).toJSON());
    }),
  );
});

const builders: Record<string, (text: string) => Tokenizer> = {
  characters: CharacterTokenizer.fromText,
  bytes: () => new ByteTokenizer(),
};

for (const [kind, build] of Object.entries(builders)) {
  test(`${kind}: decoding undoes encoding, whole and in pieces, also after a trip through JSON`, (t) => {
    fc.assert(
      fc.property(unicodeNonEmpty, fc.integer({ min: 1, max: 7 }), (text, size) => {
        const tokenizer = tokenizerFromJSON(JSON.parse(JSON.stringify(build(text))));
        t.is(tokenizer.kind, kind);
        const ids = tokenizer.encode(text);
        t.is(tokenizer.decode(ids), text);
        const decoder = tokenizer.decoder();
        let streamed = '';
        for (let i = 0; i < ids.length; i += size) streamed += decoder.write(ids.subarray(i, i + size));
        t.is(streamed + decoder.end(), text);
        t.true(ids.every((id) => id < tokenizer.vocabSize));
      }),
    );
  });

  test(`${kind}: ids out of range are refused`, (t) => {
    const tokenizer = build('ab');
    for (const id of [-1, tokenizer.vocabSize, 0.5, Number.NaN]) {
      t.throws(() => tokenizer.decode([id]), { instanceOf: DataError, message: /out of range/ });
    }
  });
}

test('bytes: a character over several tokens comes with its last byte', (t) => {
  const decoder = new ByteTokenizer().decoder();
  t.deepEqual(
    [0xf0, 0x9f, 0x98].map((id) => decoder.write([id])),
    ['', '', ''],
  );
  t.is(decoder.write([0x80]), '😀');
  t.is(decoder.write([0xc3]), '');
  t.is(decoder.end(), '\ufffd');
});

test('sha256 depends on what the tokenizer does and on nothing else', (t) => {
  const reordered = { characters: 'ab', kind: 'characters' };
  t.is(canonicalTokenizerJson(tokenizerFromJSON(reordered)), '{"characters":"ab","kind":"characters"}');
  t.deepEqual(
    tokenizerSha256(tokenizerFromJSON(reordered)),
    tokenizerSha256(CharacterTokenizer.fromText('ba')),
  );
  t.notDeepEqual(
    tokenizerSha256(CharacterTokenizer.fromText('abc')),
    tokenizerSha256(CharacterTokenizer.fromText('ab')),
  );
  t.is(tokenizerSha256(new ByteTokenizer()).length, 32);
});

const refused: [string, unknown, RegExp][] = [
  ['nothing', undefined, /kind must be characters or bytes, but it is missing/],
  ['null', null, /kind must be/],
  ['another kind', { kind: 'byte' }, /did you mean bytes\?/],
  ['a kind of Object', { kind: 'constructor' }, /kind must be/],
  ['no characters', { kind: 'characters' }, /characters/],
  ['empty characters', { kind: 'characters', characters: '' }, /at least one/],
  ['unsorted characters', { kind: 'characters', characters: 'ba' }, /order of their code points/],
  ['repeated characters', { kind: 'characters', characters: 'aa' }, /distinct/],
  ['half a pair', { kind: 'characters', characters: '\ud800' }, /distinct characters/],
  ['a key too many', { kind: 'bytes', extra: 1 }, /extra/],
];
for (const [what, json, message] of refused) {
  test(`tokenizerFromJSON refuses ${what}`, (t) => {
    t.throws(() => tokenizerFromJSON(json), { instanceOf: DataError, message });
  });
}

test('tokenizerFromJSON throws nothing but DataError', (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue(),
        fc.record({ kind: fc.constantFrom('characters', 'bytes'), characters: unicode }),
      ),
      (json) => {
        try {
          tokenizerFromJSON(json);
        } catch (error) {
          t.true(error instanceof DataError);
        }
      },
    ),
  );
  t.pass();
});
