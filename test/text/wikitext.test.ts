import test from 'ava';
import fc from 'fast-check';
import { plainText } from '#src/text/wikitext.js';
import { charactersGoneOver } from './work.js';

const cases: [string, string, string][] = [
  [
    'links show their label or their target',
    "'''A [[loom]]''' is a ''[[machine|device]]''.",
    'A loom is a device.',
  ],
  [
    'templates and tables go, with what is in them',
    'a{{b|{{c}}|[[d]]}} e\n{| class=x\n| f {{g|}}\n|}\nh',
    'a e\n\nh',
  ],
  [
    'images, categories and other languages go',
    '[[File:a.jpg|thumb|A [[b]]]]x[[Category:Y]][[de:Z]] [[War: a tale]]',
    'x War: a tale',
  ],
  ['a link that names a category stays', 'see [[:Category:Looms]]', 'see Category:Looms'],
  [
    'references, comments and formulas go',
    'a<ref name="x">b</ref>c<ref name=y/>d<!-- e -->f<math>g<h</math>',
    'acdf',
  ],
  ['tags go, text between them stays', 'H<sub>2</sub>O<br />x', 'H2Ox'],
  ['addresses go, their labels stay', 'see [https://a.org the page] [http://b.org]', 'see the page'],
  ['headings and lists are lines', '== Use ==\n* one\n** two\n----\n# three', 'Use\none\ntwo\n\nthree'],
  ['entities are characters', 'a&nbsp;b &ndash; &#233;&#xe9; &lt;b&gt; &unknown;', 'a b – éé <b> &unknown;'],
  ['paragraphs are parted by one empty line', 'a\n\n\n\nb  \n__NOTOC__\nc', 'a\n\nb\n\nc'],
  ['what is not closed is text', 'a {{b [[c d', 'a b c d'],
  ['what was not opened is text', 'a ]] b }} c', 'a ]] b }} c'],
];
for (const [what, wikitext, expected] of cases) {
  test(`plain text: ${what}`, (t) => {
    t.is(plainText(wikitext), expected);
  });
}

test('plain text: namespaces of another language', (t) => {
  const text = '[[Datei:a.jpg|mini|A]]x[[Kategorie:Y]] [[:Kategorie:Y]] [[Krieg: ein Film]]';
  t.is(plainText(text, ['Datei', 'Kategorie']), 'x Kategorie:Y Krieg: ein Film');
});

test('plain text: whatever comes, in linear work, and never more than came', (t) => {
  const marks = [
    '[[',
    ']]',
    '{{',
    '}}',
    '{|',
    '|}',
    '|',
    '<ref>',
    '</ref>',
    '<!--',
    '-->',
    '[http://a',
    '[//',
    '[//a ',
    '<a',
    '__A',
    '&a',
    ']',
    "''",
    '==',
    '\n',
    'a',
    ' ',
  ];
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...marks), maxLength: 60 }), (text) => {
      t.true(plainText(text).length <= text.length);
    }),
    { numRuns: 5000 },
  );
  for (const mark of marks) {
    const length = 200_000;
    const work = charactersGoneOver(() => plainText(mark.repeat(length / mark.length)));
    t.true(work < 100 * length, `${mark}: ${work / length} characters of work for each`);
  }
});
