import test from 'ava';
import fc from 'fast-check';
import { StopStrings } from '#src/generate/stopping.js';

function cut(pieces: readonly string[], strings: readonly string[]): string {
  const stop = new StopStrings(strings);
  let text = '';
  for (const piece of pieces) {
    const written = stop.write(piece);
    text += written.text;
    if (written.stopped) return text;
  }
  return text + stop.end();
}

test('a text ends before the first stop string, however it is cut into pieces', (t) => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 12 });
  fc.assert(
    fc.property(fc.array(letters), fc.array(letters, { maxLength: 3 }), (pieces, strings) => {
      const whole = pieces.join('');
      const places = strings
        .filter(Boolean)
        .map((stop) => whole.indexOf(stop))
        .filter((place) => place >= 0);
      const expected = places.length > 0 ? whole.slice(0, Math.min(...places)) : whole;
      // A longer stop string may begin before a shorter one that ends first: then the shorter one, seen first, cuts.
      const got = cut(pieces, strings);
      t.true(whole.startsWith(got));
      if (new Set(strings.filter(Boolean)).size <= 1) t.is(got, expected);
      else t.false(strings.some((stop) => stop && got.includes(stop)));
    }),
  );
});

test('only what may begin a stop string is held back', (t) => {
  const stop = new StopStrings(['\n\n']);
  t.deepEqual(stop.write('one\n'), { text: 'one', stopped: false });
  t.deepEqual(stop.write('two'), { text: '\ntwo', stopped: false });
  t.deepEqual(stop.write('\n\nthree'), { text: '', stopped: true });
});
