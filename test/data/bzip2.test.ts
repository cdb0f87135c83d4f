import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { bunzip2 } from '#src/data/bzip2.js';
import { DataError } from '#src/errors.js';

const fixture = (name: string): Promise<Buffer> => readFile(join('test/fixtures', name));

async function decompressed(...pieces: Uint8Array[]): Promise<Buffer> {
  async function* source() {
    yield* pieces;
  }
  const found: Uint8Array[] = [];
  for await (const piece of bunzip2(source(), 'a.bz2')) found.push(piece);
  return Buffer.concat(found);
}

/** What make_bzip2.py compressed. */
function runs(): Buffer {
  const parts = Array.from({ length: 600 }, (_, index) => Buffer.alloc(index, index & 255));
  const letters = Buffer.alloc(60_000);
  let state = 1n;
  for (let i = 0; i < letters.length; i++) {
    state = (state * 1103515245n + 12345n) & 0x7fffffffn;
    letters[i] = 97 + Number((state >> 16n) % 4n);
  }
  return Buffer.concat([...parts, letters]);
}

test('decompresses blocks, runs and every byte', async (t) => {
  t.true((await decompressed(await fixture('runs.bz2'))).equals(runs()));
});

test('gives the same however the file comes, and stream after stream', async (t) => {
  const file = await fixture('runs.bz2');
  const expected = runs();
  const single = Array.from(file, (_, index) => file.subarray(index, index + 1));
  t.true((await decompressed(...single)).equals(expected));
  t.true((await decompressed(file, file)).equals(Buffer.concat([expected, expected])));
});

test('who stops reading closes the file', async (t) => {
  let closed = false;
  async function* source() {
    try {
      yield await fixture('runs.bz2');
      yield await fixture('runs.bz2');
    } finally {
      closed = true;
    }
  }
  for await (const _ of bunzip2(source(), 'a.bz2')) break;
  t.true(closed);
});

test('a file that was cut off is refused wherever it ends', async (t) => {
  const file = await fixture('dump.xml.bz2');
  const lengths = Array.from(file.keys());
  const refusals = await Promise.all(
    lengths.map((length) => decompressed(file.subarray(0, length)).catch((error) => error)),
  );
  const whole = lengths.filter((length) => !(refusals[length] instanceof DataError));
  // Where one stream ends and the next begins the file might have ended.
  t.is(whole.length, 2);
  const large = await fixture('runs.bz2');
  await t.throwsAsync(decompressed(large.subarray(0, large.length / 2)), {
    instanceOf: DataError,
    message: /a\.bz2: it was cut off/,
  });
});

test('what is no bzip2 file is refused, and so is a single wrong bit', async (t) => {
  await t.throwsAsync(decompressed(Buffer.from('PK\x03\x04')), {
    instanceOf: DataError,
    message: /does not begin/,
  });
  await t.throwsAsync(decompressed(Buffer.alloc(0)), { instanceOf: DataError, message: /cut off/ });
  const file = await fixture('dump.xml.bz2');
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 8 * file.length - 1 }), async (bit) => {
      const damaged = Buffer.from(file);
      damaged[bit >> 3] ^= 1 << (bit & 7);
      const result = await decompressed(damaged).catch((error) => error);
      // Filling bits at the end of a stream, and a larger block size, change nothing.
      t.true(result instanceof DataError || result.equals(await decompressed(file)), `bit ${bit}`);
    }),
    { numRuns: 300 },
  );
});

test('whatever follows the beginning of a stream, bytes or a DataError', async (t) => {
  const beginning = Buffer.from('BZh91AY&SY', 'latin1');
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (rest) => {
      await t.throwsAsync(decompressed(beginning, rest), { instanceOf: DataError });
    }),
    { numRuns: 500 },
  );
});
