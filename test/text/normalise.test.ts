import test from 'ava';
import fc from 'fast-check';
import { cleanPieces, cleanText8, Text8Cleaner } from '#src/text/normalise.js';
import { charactersGoneOver } from './work.js';

// What wikifil.pl makes of these, but for its spaces at both ends.
const cases: [string, string, string][] = [
  ['case and punctuation', "Don't PANIC -- it's O.K.!", 'don t panic it s o k'],
  ['digits', 'In 1905, 3.14', 'in one nine zero five three one four'],
  ['digits within words', 'a1b', 'a one b'],
  ['letters beyond a-z', 'na\u00efve K\u212a', 'na ve k'],
  ['tags', 'x<br />y <i>z</i>', 'xy z'],
  ['comments', 'a<!-- b > c -->d', 'ad'],
  ['references', 'fact<ref name="x">Smith, 1999</ref>.', 'fact'],
  ['a reference without content', 'fact<ref name=x/> goes on <b>here</b>', 'fact goes on here'],
  ['links', 'the [[working class]] [[radical]]s', 'the working class radicals'],
  ['links with a text', '[[English Revolution|revolution of 1649]]', 'revolution of one six four nine'],
  ['links to other languages', 'end [[de:Anarchismus]][[zh-min-nan:Hui]]', 'end'],
  ['categories', '[[Category:Political ideology|*]] x', 'political ideology x'],
  ['images', '[[Image:A.png|right|thumb|120px|A [[symbol]] of [[a|b]]]]', 'a symbol of b'],
  ['image options last', '[[Image:A.png|thumb]] x', 'x'],
  ['images without a caption', 'a [[Image:A.png]] b', 'a b'],
  ['external links', '[http://example.com/a?b=c The Example] [https://x.org]', 'the example'],
  ['templates', 'a{{Main|x}}b', 'ab'],
  ['nested templates', 'a {{x|{{y}} z}} b', 'a b'],
  ['tables', 'a\n{| class="w"\n| c || d\n|}\nb', 'a b'],
  ['entities', 'a&nbsp;b&#8212;c &amp;mdash; d', 'a b c d'],
  ['an ampersand', 'AT&T; R&D department', 'at r d department'],
  ['escaped mark-up', '&lt;ref&gt;x&lt;/ref&gt;&lt;b&gt;y&lt;/b&gt; &amp;lt;i&gt;z', 'y z'],
  ['comparisons', 'if a < b and c > d', 'if a b and c d'],
  ['mark-up that never ends', 'a {{b [[c <d &e', 'a b c d e'],
  ['nothing', '', ''],
  ['no letters', ' \n.;', ''],
];
for (const [what, text, expected] of cases) {
  test(`cleans ${what}`, (t) => {
    t.is(cleanText8(text), expected);
  });
}

const markup = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '{{',
        '}}',
        '{',
        '}',
        '[[',
        ']]',
        '[',
        ']',
        '|',
        '<',
        '>',
        '<ref',
        '</ref>',
        '<!--',
        '-->',
        '&',
        ';',
      ),
      fc.constantFrom(
        '&amp;',
        '&lt;',
        'amp;',
        'lt;',
        '[http:',
        '[[image:',
        '[[category:',
        '[[de:',
        '|thumb',
        '12',
        ' ',
        '\n',
      ),
      fc.string({ maxLength: 6 }),
    ),
    { maxLength: 60 },
  )
  .map((parts) => parts.join(''));

test('leaves single words of a-z, parted by single spaces', (t) => {
  fc.assert(fc.property(markup, (text) => t.regex(cleanText8(text), /^(?:[a-z]+(?: [a-z]+)*)?$/)));
});

test('leaves clean text as it is', (t) => {
  fc.assert(fc.property(markup, (text) => t.is(cleanText8(cleanText8(text)), cleanText8(text))));
});

/** Text long enough that what is looked ahead for lies in another piece. */
function longText(parts: readonly string[], length: number): string {
  const filler = 'lorem ipsum 7 ';
  return parts.map((part) => part + filler.repeat(Math.ceil(length / parts.length / filler.length))).join('');
}

test('gives the same however the text is cut', (t) => {
  fc.assert(
    fc.property(
      fc.array(markup, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 0, max: 600_000 }),
      fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 20 }),
      (parts, length, cuts) => {
        const text = longText(parts, length);
        const cleaner = new Text8Cleaner();
        let cleaned = '';
        let start = 0;
        for (let i = 0; start < text.length; i++) {
          const end = start + cuts[i % cuts.length];
          cleaned += cleaner.write(text.slice(start, end));
          start = end;
        }
        cleaned += cleaner.end();
        t.true(cleaned === cleanText8(text));
      },
    ),
    { numRuns: 60 },
  );
});

test('gives the same one character at a time', (t) => {
  fc.assert(
    fc.property(markup, (text) => {
      const cleaner = new Text8Cleaner();
      const cleaned =
        Array.from({ length: text.length }, (_, i) => cleaner.write(text[i])).join('') + cleaner.end();
      t.is(cleaned, cleanText8(text));
    }),
  );
});

test('mark-up that ends too far away is text', (t) => {
  const near = `a {${'b '.repeat(30_000)}} c`;
  const far = `a {${'b '.repeat(40_000)}} c`;
  t.is(cleanText8(near), 'a c');
  t.is(cleanText8(far).length, 2 * 40_000 + 3);
});

test('cleans a stream, and a cleaner can begin again', async (t) => {
  async function* pieces() {
    yield 'The <b';
    yield '>year</b> 20';
    yield '06 ';
  }
  const cleaned = [];
  for await (const piece of cleanPieces(pieces())) cleaned.push(piece);
  t.is(cleaned.join(''), 'the year two zero zero six');
  const cleaner = new Text8Cleaner();
  t.is(cleaner.write('A ') + cleaner.end(), 'a');
  t.is(cleaner.write(' B') + cleaner.end(), 'b');
});

const hostile = [
  '{',
  '[[',
  '[[image:',
  '[[image:|',
  '<',
  '<!--',
  '<ref',
  '&',
  '&amp;',
  '[[a|',
  '|',
  '[http:',
  '[[category:',
  '[[a:',
];
for (const text of hostile) {
  test(`takes linear time over ${text} repeated`, (t) => {
    const length = 400_000;
    const input = text.repeat(Math.floor(length / text.length));
    const work = charactersGoneOver(() => cleanText8(input));
    t.true(work < 60 * length, `${work / length} characters of work for each`); // a quadratic search has thousands
  });
}
