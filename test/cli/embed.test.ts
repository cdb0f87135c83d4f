// `heddle embed`: words are trained, asked, exported, and read back from what was exported.
import { readFileSync } from 'node:fs';
import test from 'ava';
import { openSafetensors } from '#src/checkpoint/safetensors.js';
import { openVectors } from '#src/evaluate/wordVectors.js';
import { commands, events, last } from './heddle.js';

const topics = ['warp weft loom heddle shuttle reed', 'bread flour oven yeast salt dough'].map((words) =>
  words.split(' '),
);
const sentences = Array.from({ length: 300 }, (_, sentence) => {
  const words = topics[sentence % 2];
  return Array.from({ length: 12 }, (_, i) => words[(sentence * 7 + i * i + (i >> 1)) % words.length]).join(
    ' ',
  );
});
const settings =
  '--hidden-size 12 --window 3 --min-count 1 --subsample 0 --learning-rate 0.05 --device cpu --threads 1'.split(
    ' ',
  );

test.serial('vectors are trained, asked and exported; both formats say the same as the run', async (t) => {
  const { at, succeed, refused, write } = commands(t);
  const text = write('text.txt', [...sentences, 'ampersand & once']);
  const run = at('vectors');
  const train = ['embed', '--data', text, '--out', run, ...settings, '--seed', '3'];
  const reported = events(await succeed(...train, '--epochs', '60', '--log-every', '1', '--json'));
  const steps = reported.filter(({ event }) => event === 'step');
  t.true(steps.at(-1).loss < steps[0].loss - 0.3, `${steps[0].loss} fell to ${steps.at(-1).loss} only`);
  t.deepEqual([reported.at(-2).event, reported.at(-1).reason], ['checkpoint', 'finished']);
  await refused(/holds checkpoints of an earlier run/, ...train);
  t.regex(await succeed(...train, '--epochs', '60', '--resume'), /finished at step 60 /);

  const ask = async (model: string) =>
    events(
      await succeed(
        ...['embed', model, '--neighbours', 'loom, flour', '--count', '3', '--analogy', 'warp,weft,salt'],
        ...['--similarity', 'loom,reed', '--json'],
      ),
    );
  const [loom, flour, analogy, { cosine }] = await ask(run);
  t.is(loom.nearest.length, 3);
  t.true(topics[0].includes(loom.nearest[0].word), JSON.stringify(loom));
  t.true(topics[1].includes(flour.nearest[0].word), JSON.stringify(flour));
  t.deepEqual(analogy.words, ['warp', 'weft', 'salt']);
  t.true(Math.abs(cosine) <= 1, `${cosine}`);
  t.regex(await succeed('embed', run, '--neighbours', 'loom', '--count', '1'), /^loom: \w+ 0\.\d{3}\n$/);
  t.is(Number(await succeed('embed', run, '--similarity', 'loom,reed')).toFixed(4), cosine.toFixed(4));

  const pairs = write('pairs.txt', ['loom reed 9', 'bread oven 8', 'loom bread 1', 'warp salt 2']);
  const scored = await succeed('evaluate', run, '--similarity', pairs, '--json');
  const trained = await openVectors(run);
  for (const name of ['vectors.txt', 'vectors.safetensors']) {
    const file = at(name);
    const { path, words, size } = last(await succeed('embed', run, '--export', file, '--json'));
    t.deepEqual({ path, words, size }, { path: file, words: 15, size: 12 });
    const opened = await openVectors(file);
    t.deepEqual(opened.words, trained.words);
    t.deepEqual(opened.vectors, trained.vectors, 'to the bit');
    t.deepEqual(await ask(file), [
      loom,
      flour,
      analogy,
      { event: 'similarity', words: ['loom', 'reed'], cosine },
    ]);
    t.is(await succeed('evaluate', file, '--similarity', pairs, '--json'), scored);
  }
  const lines = readFileSync(at('vectors.txt'), 'utf8').split('\n');
  t.is(lines[0], '15 12');
  t.is(lines.length, 17, 'a line each, and the last line end');
  const tensors = await openSafetensors(at('vectors.safetensors'));
  t.deepEqual(tensors.tensors.get('vectors')!.shape, [15, 12]);
  await tensors.close();
});

test.serial(
  'the embeddings of any model are exported, without the tokens that training appended',
  async (t) => {
    const { at, succeed, write } = commands(t);
    const text = write('text.txt', sentences);
    const sizes =
      '--hidden-size 8 --num-hidden-layers 1 --num-attention-heads 2 --max-position-embeddings 16'.split(' ');
    const model = ['train', '--objective', 'denoising', '--data', text, '--tokenizer', 'words', ...sizes];
    await succeed(...model, '--max-steps', '2', '--device', 'cpu', '--out', at('run'), '--json');
    await succeed('embed', at('run'), '--export', at('vectors.txt'));
    const { words, size } = await openVectors(at('vectors.txt'));
    t.is(size, 8);
    t.deepEqual([...words].filter((word) => /^\w+$/.test(word)).sort(), topics.flat().sort());
  },
);

test.serial('mistakes cost a sentence', async (t) => {
  const { at, succeed, refused, write } = commands(t);
  const text = write('text.txt', sentences);
  await refused(/nothing to do/, 'embed');
  await refused(/either --data, to train/, 'embed', at('run'), '--data', text);
  await refused(/does not exist/, 'embed', at('run'), '--neighbours', 'loom');
  await refused(
    /window is 300; use at most 256/,
    'embed',
    '--data',
    text,
    '--window',
    '300',
    '--out',
    at('run'),
  );
  await refused(
    /of 1 none occurs 5 times/,
    'embed',
    '--data',
    write('one.txt', ['word']),
    '--out',
    at('run'),
  );
  await succeed('embed', '--data', text, ...settings, '--epochs', '1', '--out', at('run'), '--json');
  await refused(
    /'lom' is not in the vocabulary; did you mean 'loom'/,
    'embed',
    at('run'),
    '--neighbours',
    'lom',
  );
  await refused(/analogy takes 3 words/, 'embed', at('run'), '--analogy', 'loom,reed');
  await refused(/similarity takes 2 words/, 'embed', at('run'), '--similarity', 'loom,');
  await refused(/cannot write .*no such file/, 'embed', at('run'), '--export', at('none/v.txt'));
  await refused(/cannot write .*no such file/, 'embed', at('run'), '--export', at('none/v.safetensors'));
  await refused(
    /wrong.txt:2 must be a word and 2 numbers/,
    'embed',
    write('wrong.txt', ['1 2', 'loom 1']),
    '--neighbours',
    'loom',
  );
});
