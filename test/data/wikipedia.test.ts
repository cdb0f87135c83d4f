import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { openCorpus } from '#src/data/corpora.js';
import { prepareTokens } from '#src/data/prepare.js';
import { DataError } from '#src/errors.js';
import { temporaryFolder } from './folder.js';

const page = (title: string, ns: number, text: string, more = '') =>
  `  <page>\n    <title>${title}</title>\n    <ns>${ns}</ns>\n    <id>1</id>${more}\n    <revision>\n      <text bytes="9" xml:space="preserve">${text}</text>\n    </revision>\n  </page>\n`;
const dump = (...pages: string[]) =>
  `<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11">\n  <siteinfo/>\n${pages.join('')}</mediawiki>\n`;

const sample = dump(
  page('Loom', 0, "A '''loom''' weaves [[cloth|Cloth]] &amp;amp; more.&lt;ref&gt;x&lt;/ref&gt;"),
  page('Talk:Loom', 1, 'Talk'),
  page('Looms', 0, '#REDIRECT [[Loom]]', '\n    <redirect title="Loom" />'),
  page('Heald', 0, '#redirect [[Heddle]]'),
  page('Heddle', 0, '{{Infobox}}\nHeddles guide 2 threads.'),
  '  <page><title>Empty</title><ns>0</ns><revision><text bytes="0" /></revision></page>\n',
);

async function dumpFile(t: ExecutionContext, xml: string, name = 'dump.xml'): Promise<string> {
  const path = join(await temporaryFolder(t), name);
  await writeFile(path, xml);
  return path;
}

async function prepared(t: ExecutionContext, path: string, clean: 'none' | 'text8' = 'none') {
  const cacheFolder = await temporaryFolder(t);
  const { source, tokenizer } = await prepareTokens(await openCorpus(path), { cacheFolder, clean });
  t.teardown(() => source.close());
  const ids = new Int32Array(source.count);
  source.read(0, ids, 0, source.count);
  return { text: tokenizer.decode(ids), documents: [...source.documents()] };
}

test('articles become plain text, a document each; redirects and other namespaces are passed over', async (t) => {
  const { text, documents } = await prepared(t, await dumpFile(t, sample));
  t.is(text, 'A loom weaves Cloth & more.\nHeddles guide 2 threads.');
  t.deepEqual(documents, [0, 28]);
});

test('or text by the rules of text8', async (t) => {
  const { text } = await prepared(t, await dumpFile(t, sample), 'text8');
  t.is(text, 'a loom weaves cloth more heddles guide two threads');
});

test('a compressed dump of several streams, in German', async (t) => {
  const path = 'test/fixtures/dump.xml.bz2';
  const { text, documents } = await prepared(t, path);
  t.is(text, 'Die Weblade schl&auml;gt den Schuss an.\nEine Litze führt einen Kettfaden.');
  t.is(documents.length, 2);
  const whole = await readFile(path);
  const cut = join(await temporaryFolder(t), 'cut.xml.bz2');
  await writeFile(cut, whole.subarray(0, whole.length - 20));
  await t.throwsAsync(prepared(t, cut), { instanceOf: DataError, message: /cannot decompress .*cut off/ });
});

test('a dump larger than a piece of reading comes whole', async (t) => {
  const texts = Array.from({ length: 300 }, (_, index) => `${index} ${'warp and weft '.repeat(index)}end`);
  const path = await dumpFile(t, dump(...texts.map((text) => page('A', 0, text))));
  t.is((await prepared(t, path)).text, texts.join('\n'));
});

const head = '<mediawiki>';
const refused: [string, string, RegExp][] = [
  ['another kind of XML', '<html><page></page></html>', /does not begin with <mediawiki>/],
  ['what is no XML', 'The loom.', /does not begin with <mediawiki>/],
  ['a dump without pages', dump(), /holds no <page>/],
  ['a dump that was cut off', sample.slice(0, 300), /ends within page 1/],
  [
    'entities that grow',
    `<?xml version="1.0"?>\n<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>\n${sample}`,
    /declares a document type/,
  ],
  ['a page without end', `${head}<page>${'x'.repeat(2 ** 24 + 2 ** 18)}`, /page 1 is longer than/],
];
for (const [what, xml, message] of refused) {
  test(`refuses ${what}`, async (t) => {
    await t.throwsAsync(prepared(t, await dumpFile(t, xml)), { instanceOf: DataError, message });
  });
}

test("entities that are not XML's own stay as they are", async (t) => {
  const xml = dump(page('A', 0, '&b; &amp;b; &#0039;x&#039;'));
  t.is((await prepared(t, await dumpFile(t, xml))).text, "&b; &b; 'x'");
});

test('whatever comes, text or a DataError', async (t) => {
  const marks = [
    '<page>',
    '</page>',
    '<ns>0</ns>',
    '<text>',
    '</text>',
    '<text',
    '>',
    '<redirect',
    '&lt;',
    '&amp;',
    '[[',
    ']]',
    'a',
    '\n',
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: fc.constantFrom(...marks), minLength: 1, maxLength: 40 }),
      async (xml) => {
        const corpus = await openCorpus(await dumpFile(t, head + xml));
        try {
          for await (const text of corpus.documents[0].texts!()) t.is(typeof text, 'string');
        } catch (error) {
          t.true(error instanceof DataError);
        }
      },
    ),
    { numRuns: 300 },
  );
});
