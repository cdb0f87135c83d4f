import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { temporaryFolder } from '../data/folder.js';

function tokenizer(args: readonly string[], input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/cli/main.js', 'tokenizer', ...args], {
    input,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test('learnt from several files, written, used, and imported again', async (t) => {
  const folder = await temporaryFolder(t);
  const [english, german, made, copy] = ['a.en', 'a.de', 'made.json', 'copy.json'].map((name) =>
    join(folder, name),
  );
  await writeFile(`${english}.txt`, 'the loom and the thread '.repeat(20));
  await writeFile(`${german}.txt`, 'der Webstuhl und der Faden '.repeat(20));
  const learnt = tokenizer([
    ...['train', 'bpe', '--data', `${english}.txt,${german}.txt`, '--vocab-size', '280'],
    ...['--special-tokens', 'pad,eos', '--out', made, '--json'],
  ]);
  t.deepEqual(JSON.parse(learnt.stdout), {
    kind: 'bpe',
    vocabSize: 280,
    specialTokens: { pad: 278, eos: 279 },
    file: made,
  });
  const text = 'the Webstuhl, ünd\n';
  const encoded = tokenizer(['encode', made], text).stdout;
  t.true(encoded.split(' ').length < text.length);
  t.is(tokenizer(['decode', made], encoded).stdout, `${text}\n`);
  t.is(tokenizer(['import', made, '--out', copy]).status, 0);
  t.is(tokenizer(['encode', copy, '--text', text]).stdout, encoded);
});

test('mistakes cost a sentence', async (t) => {
  const folder = await temporaryFolder(t);
  const text = join(folder, 'a.txt');
  await writeFile(text, 'some words');
  const mistakes: [string[], RegExp][] = [
    [['encode', 'bpe', '--text', 'a'], /encode takes a tokenizer that exists/],
    [['train', '--vocab-size', '400'], /--data names the texts/],
    [['train', '--data', text, '--special-tokens', 'pda'], /did you mean pad\?/],
    [['train', '--data', text, '--special-tokens', 'pad,pad'], /named twice/],
    [['train', '--data', text, '--vocab-size', '10'], /vocabSize of a bpe tokenizer must be/],
    [['train', 'words', '--data', text, '--out', join(folder, 'none', 'a.json')], /cannot write/],
    [['decode', text, '--text', '1'], /is no JSON/],
  ];
  for (const [args, message] of mistakes) {
    const { status, stderr } = tokenizer(args);
    t.is(status, 2, stderr);
    t.regex(stderr, message);
    t.is(stderr.trim().split('\n').length, 1);
  }
});
