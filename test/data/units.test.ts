import test from 'ava';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { bitsPerUnit, countUnits } from '#src/data/units.js';
import { ByteTokenizer } from '#src/text/bytes.js';
import type { Tokenizer } from '#src/text/tokenizer.js';

test('one token of ln 2 nats on one character is one bit', (t) => {
  t.is(bitsPerUnit(Math.LN2, 10, 10), 1);
  t.is(bitsPerUnit(Math.LN2, 10, 40), 0.25);
});

test('tokens of equal length need not be read', (t) => {
  const unread = { ...new MemoryTokens(new Uint8Array(0), 256), count: 1e9 } as unknown as MemoryTokens;
  t.is(countUnits(unread, { start: 5, end: 1e9 }, new ByteTokenizer()), 1e9 - 5);
});

test('tokens of several lengths are added up', (t) => {
  const pairs = Object.assign(Object.create(new ByteTokenizer()), {
    vocabSize: 3,
    units: (id: number) => id + 1,
  }) as Tokenizer;
  const ids = Uint8Array.from({ length: 200_000 }, (_, i) => i % 3);
  const range = { start: 1, end: 199_999 };
  const expected = ids.subarray(1, 199_999).reduce((sum, id) => sum + id + 1, 0);
  t.is(countUnits(new MemoryTokens(ids, 3), range, pairs), expected);
});
