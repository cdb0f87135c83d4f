import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type Corpus, openCorpus } from '#src/data/corpora.js';
import { type PreparedData, type PrepareOptions, prepareTokens } from '#src/data/prepare.js';
import { ConfigError, DataError } from '#src/errors.js';
import { CharacterTokenizer } from '#src/text/characters.js';
import { temporaryFolder } from './folder.js';

async function corpusOf(t: ExecutionContext, ...texts: string[]): Promise<Corpus> {
  const folder = await temporaryFolder(t);
  for (const [i, text] of texts.entries()) await writeFile(join(folder, `${i}.txt`), text);
  return openCorpus(folder);
}

async function prepare(
  t: ExecutionContext,
  corpus: Corpus,
  options: PrepareOptions = {},
): Promise<PreparedData> {
  const prepared = await prepareTokens(corpus, { cacheFolder: await temporaryFolder(t), ...options });
  t.teardown(() => prepared.source.close());
  return prepared;
}

function decode({ source, tokenizer }: PreparedData): string {
  const ids = new Int32Array(source.count);
  source.read(0, ids, 0, source.count);
  return tokenizer.decode(ids);
}

test('characters: the vocabulary is the whole corpus, documents are parted and found again', async (t) => {
  const prepared = await prepare(t, await corpusOf(t, 'héllo', 'wörld\n', '', '😀!'));
  t.is(decode(prepared), 'héllo\nwörld\n😀!');
  t.deepEqual([...prepared.source.documents()], [0, 6, 12]);
  t.deepEqual(prepared.tokenizer.toJSON(), { kind: 'characters', characters: '\n!dhlorwéö😀' });
  t.is(prepared.source.vocabSize, prepared.tokenizer.vocabSize);
  t.false(prepared.reused);
});

test('bytes: tokens are the bytes of the text', async (t) => {
  const prepared = await prepare(t, await corpusOf(t, 'né', 'b'), { tokenizer: 'bytes' });
  t.is(decode(prepared), 'né\nb');
  t.is(prepared.source.count, 5);
  t.is(prepared.source.vocabSize, 256);
});

test('text8 cleaning: words of all documents are kept apart', async (t) => {
  const prepared = await prepare(t, await corpusOf(t, 'The [[cat|Cat]],', '...', '9 lives.'), {
    clean: 'text8',
  });
  t.is(decode(prepared), 'the cat nine lives');
  t.deepEqual([...prepared.source.documents()], [0, 8]);
});

test('a tokenizer that exists is used, and its unknown characters are refused', async (t) => {
  const tokenizer = CharacterTokenizer.fromText('abc\n');
  const cacheFolder = await temporaryFolder(t);
  const prepared = await prepare(t, await corpusOf(t, 'ab', 'c'), { tokenizer });
  t.is(decode(prepared), 'ab\nc');
  t.is(prepared.tokenizer, tokenizer);
  const error = await t.throwsAsync(
    prepareTokens(await corpusOf(t, 'ab', 'cx'), { tokenizer, cacheFolder }),
    { instanceOf: DataError },
  );
  t.regex(error.message, /unknown character "x" \(U\+0078\) at offset 4/);
  t.deepEqual(
    (await readdir(join(cacheFolder, 'tokens'))).filter((name) => !name.endsWith('.json')),
    [],
  );
});

test('the same files and options are prepared once', async (t) => {
  const cacheFolder = await temporaryFolder(t);
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.txt');
  await writeFile(path, 'some text');
  const reused = async (options: PrepareOptions = {}): Promise<boolean> =>
    (await prepare(t, await openCorpus(path), { cacheFolder, ...options })).reused;
  t.false(await reused());
  t.true(await reused());
  t.false(await reused({ tokenizer: 'bytes' }));
  t.false(await reused({ clean: 'text8' }));
  t.true(await reused({ clean: 'text8' }));
  await utimes(path, 1, 1);
  t.false(await reused());
  await writeFile(path, 'other text');
  const prepared = await prepare(t, await openCorpus(path), { cacheFolder });
  t.is(decode(prepared), 'other text');
});

test('a damaged cache is made anew', async (t) => {
  const cacheFolder = await temporaryFolder(t);
  const corpus = await corpusOf(t, 'some text');
  await prepare(t, corpus, { cacheFolder });
  const files = await readdir(join(cacheFolder, 'tokens'));
  t.is(files.length, 2);
  for (const name of files) {
    const path = join(cacheFolder, 'tokens', name);
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, whole.length - 1));
    const prepared = await prepare(t, corpus, { cacheFolder });
    t.false(prepared.reused);
    t.is(decode(prepared), 'some text');
    t.deepEqual(await readFile(path), whole);
  }
});

test('progress goes through both passes to the end, and a signal stops it without a trace', async (t) => {
  const corpus = await corpusOf(t, 'a'.repeat(1_500_000), 'b'.repeat(1_500_000));
  const last: Record<string, number> = {};
  await prepare(t, corpus, {
    onProgress: ({ stage, done, total }) => {
      t.is(total, 3_000_000);
      t.true(done > (last[stage] ?? 0));
      last[stage] = done;
    },
  });
  t.deepEqual(last, { scan: 3_000_000, encode: 3_000_000 });

  const cacheFolder = await temporaryFolder(t);
  const controller = new AbortController();
  const reason = new Error('enough');
  const stopped = prepareTokens(corpus, {
    cacheFolder,
    signal: controller.signal,
    onProgress: ({ stage }) => stage === 'encode' && controller.abort(reason),
  });
  t.is(await t.throwsAsync(stopped), reason);
  t.false((await readdir(join(cacheFolder, 'tokens'))).some((name) => !name.endsWith('.json')));
});

test('nothing left and unknown options are refused', async (t) => {
  const corpus = await corpusOf(t, '...');
  await t.throwsAsync(prepare(t, corpus, { clean: 'text8' }), {
    instanceOf: DataError,
    message: /holds no text that is left/,
  });
  await t.throwsAsync(prepare(t, corpus, { clean: 'text8', tokenizer: 'bytes' }), {
    instanceOf: DataError,
    message: /holds no text/,
  });
  await t.throwsAsync(prepare(t, await corpusOf(t, '\ufeff')), {
    instanceOf: DataError,
    message: /holds no text$/,
  });
  await t.throwsAsync(prepare(t, corpus, { clean: 'all' as 'none' }), {
    instanceOf: ConfigError,
    message: /clean must be none or text8/,
  });
  await t.throwsAsync(prepare(t, corpus, { tokenizer: 'wrods' }), {
    instanceOf: ConfigError,
    message: /tokenizer must be/,
  });
});

test('documents can end with eos instead of a separator', async (t) => {
  const corpus = await corpusOf(t, 'ab', '', 'c\n');
  const prepared = await prepare(t, corpus, { endDocuments: true });
  const eos = prepared.tokenizer.specialTokens.eos!;
  const ids = new Int32Array(prepared.source.count);
  prepared.source.read(0, ids, 0, ids.length);
  t.deepEqual([...ids], [...prepared.tokenizer.encode('ab'), eos, ...prepared.tokenizer.encode('c\n'), eos]);
  t.deepEqual([...prepared.source.documents()], [0, 3]);
  const tokenizer = CharacterTokenizer.fromText('abc\n');
  await t.throwsAsync(prepareTokens(corpus, { tokenizer, endDocuments: true }), {
    instanceOf: ConfigError,
    message: /eos, but the tokenizer has none/,
  });
});
