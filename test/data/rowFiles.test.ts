import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { labelledData } from '#src/data/labelled.js';
import { numberedLines } from '#src/data/numberedLines.js';
import { pairData } from '#src/data/pairs.js';
import { promptCompletionData } from '#src/data/promptCompletions.js';
import type { TokenRows } from '#src/data/rows.js';
import { ConfigError, DataError } from '#src/errors.js';
import type { Tokenizer } from '#src/text/tokenizer.js';
import { temporaryFolder } from './folder.js';

async function files(t: ExecutionContext, contents: Record<string, string>) {
  const folder = await temporaryFolder(t);
  for (const [name, text] of Object.entries(contents)) await writeFile(join(folder, name), text);
  return (name: string) => join(folder, name);
}

function texts(rows: TokenRows, tokenizer: Tokenizer): string[] {
  return Array.from({ length: rows.count }, (_, row) => {
    const ids = new Int32Array(rows.lengthOf(row));
    rows.read(row, ids, 0, ids.length);
    return tokenizer.decode(ids);
  });
}

test('lines are numbered and have no ends; nothing follows the last one', async (t) => {
  const path = await files(t, { a: 'one\r\ntwo\n\nfour', b: 'one\n', empty: '' });
  const read = async (name: string) => {
    const lines: [string, number][] = [];
    for await (const { text, number } of numberedLines(path(name))) lines.push([text, number]);
    return lines;
  };
  t.deepEqual(await read('a'), [
    ['one', 1],
    ['two', 2],
    ['', 3],
    ['four', 4],
  ]);
  t.deepEqual(await read('b'), [['one', 1]]);
  t.deepEqual(await read('empty'), []);
  await t.throwsAsync(read('none'), { instanceOf: DataError, message: /there is no such file/ });
});

test('pairs: one tokenizer of both sides, lines together, other parts with it', async (t) => {
  const path = await files(t, { en: 'a dog\nthe cat\n', de: 'ein Hund\ndie Katze\n', ven: 'a', vde: '' });
  const train = { source: path('en'), target: path('de') };
  const { tokenizer, parts } = await pairData({ train, valid: train }, { tokenizer: 'characters' });
  t.deepEqual(Object.keys(tokenizer.specialTokens), ['pad', 'bos', 'eos']);
  t.deepEqual(texts(parts.train!.source, tokenizer), ['a dog', 'the cat']);
  t.deepEqual(texts(parts.valid!.target, tokenizer), ['ein Hund', 'die Katze']);
  const error = await t.throwsAsync(
    pairData({ test: { source: path('en'), target: path('vde') } }, { tokenizer }),
    { instanceOf: DataError },
  );
  t.regex(error.message, /en has 2 lines but .*vde has 0; line-aligned/);
  await t.throwsAsync(pairData({ test: train }, { tokenizer: 'bpe' }), {
    instanceOf: ConfigError,
    message: /learnt from a training part/,
  });
});

test('pairs: any lines come back', async (t) => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n\ufeff]/g, ' '));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(line, line), { minLength: 1, maxLength: 20 }), async (pairs) => {
      const [source, target] = [0, 1].map((side) => pairs.map((pair) => pair[side]));
      const contents = [source, target].map((lines) => lines.map((each) => `${each}\n`).join(''));
      const path = await files(t, { source: contents[0], target: contents[1] });
      const train = { source: path('source'), target: path('target') };
      const { tokenizer, parts } = await pairData({ train }, { tokenizer: 'bytes' });
      t.deepEqual(texts(parts.train!.source, tokenizer), source);
      t.deepEqual(texts(parts.train!.target, tokenizer), target);
    }),
    { numRuns: 30 },
  );
});

test('prompts and completions: a JSON object a line', async (t) => {
  const path = await files(t, {
    good: '{"prompt": "2+2=", "completion": "4", "note": 1}\n\n{"prompt": "", "completion": "x\\ny"}\n',
    broken: '{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n',
    wrong: '\n{"prompt": "a", "completion": 4}\n',
    list: '[]\n',
    empty: '\n',
  });
  const { tokenizer, parts } = await promptCompletionData({ train: path('good') }, { tokenizer: 'bytes' });
  t.deepEqual(texts(parts.train!.source, tokenizer), ['2+2=', '']);
  t.deepEqual(texts(parts.train!.target, tokenizer), ['4', 'x\ny']);
  t.is(tokenizer.specialTokens.eos, 256);
  const refused = {
    broken: /broken:2 must be .*no JSON/,
    wrong: /wrong:2 .*completion/,
    list: /list:1/,
    empty: /no prompts/,
  };
  for (const [name, message] of Object.entries(refused)) {
    await t.throwsAsync(promptCompletionData({ train: path(name) }, { tokenizer: 'bytes' }), {
      instanceOf: DataError,
      message,
    });
  }
});

test('labelled texts: classes in their order, those of other parts must be known', async (t) => {
  const path = await files(t, {
    train: 'good\t10\nbad\t2\n\nfine\t10\n',
    valid: 'meh\t3\n',
    fields: 'a\t2\nb\n',
    many: 'a\tb\t1\n',
    blank: '\t1\n',
    names: 'x\tneutral\ny\tbad\n',
  });
  const { tokenizer, labelNames, parts } = await labelledData(
    { train: path('train') },
    { tokenizer: 'words' },
  );
  t.deepEqual(labelNames, ['2', '10']);
  t.deepEqual([...parts.train!.labels], [1, 0, 1]);
  t.deepEqual(texts(parts.train!.rows, tokenizer), ['good', 'bad', 'fine']);
  t.deepEqual((await labelledData({ train: path('names') }, { tokenizer })).labelNames, ['bad', 'neutral']);
  const refused: Record<string, RegExp> = {
    valid: /valid:1 has the class "3", but the classes are 2, 10/,
    fields: /fields:2 must be a text, a tab and a class, but it has 1 fields/,
    many: /many:1 .* 3 fields/,
    blank: /blank:1 .* empty/,
  };
  for (const [name, message] of Object.entries(refused)) {
    await t.throwsAsync(labelledData({ test: path(name) }, { tokenizer, labelNames }), {
      instanceOf: DataError,
      message,
    });
  }
});

test('labelled texts cleaned by the rules of text8: what is learnt from and read begins with a space', async (t) => {
  const path = await files(t, { train: "It 's a Film , 2 stars !\tgood\n?!\tbad\n" });
  const options = { tokenizer: 'characters', specialTokens: [], clean: 'text8' } as const;
  const { tokenizer, parts } = await labelledData({ train: path('train') }, options);
  t.deepEqual(texts(parts.train!.rows, tokenizer), [' it s a film two stars', ' ']);
  t.is(tokenizer.vocabSize, new Set(' it s a film two stars').size);
  await t.throwsAsync(labelledData({ train: path('train') }, { clean: 'text9' as 'text8' }), {
    instanceOf: ConfigError,
    message: /clean must be none or text8, but it is text9/,
  });
});
