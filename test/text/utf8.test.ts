import test from 'ava';
import fc from 'fast-check';
import { DataError } from '#src/errors.js';
import { decodeUtf8 } from '#src/text/utf8.js';

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

async function decode(bytes: Uint8Array, size: number): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of decodeUtf8(inPieces(bytes, size), 'a.txt')) pieces.push(piece);
  return pieces;
}

test('characters may lie across pieces, and are never parted', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), fc.integer({ min: 1, max: 5 }), async (text, size) => {
      const pieces = await decode(new TextEncoder().encode(text), size);
      t.is(pieces.join(''), text.replace(/^\ufeff/, ''));
      t.true(pieces.every((piece) => piece !== '' && !/^[\udc00-\udfff]/.test(piece)));
    }),
  );
});

test('drops one byte order mark at the start only', async (t) => {
  t.is((await decode(new TextEncoder().encode('\ufeffa\ufeff'), 1)).join(''), 'a\ufeff');
});

test('bytes that are no UTF-8 are refused with their place', async (t) => {
  await t.throwsAsync(decode(Uint8Array.of(0x61, 0x62, 0xff, 0x63), 2), {
    instanceOf: DataError,
    message: /a\.txt is no UTF-8 text \(between bytes 2 and 4\)/,
  });
  await t.throwsAsync(decode(Uint8Array.of(0x61, 0xc3), 2), { instanceOf: DataError, message: /at its end/ });
});
