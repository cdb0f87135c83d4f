// The commands as a user runs them: processes of their own, real files, real signals.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { temporaryFolder } from '../train/tiny.js';
import { events, heddle } from './heddle.js';

function textFile(folder: string): string {
  const path = join(folder, 'text.txt');
  const words = 'shuttle warp weft thread loom heddle cloth bobbin reed treadle'.split(' ');
  let text = '';
  for (let index = 0; text.length < 20_000; index++)
    text += `${words[(index * index + (index >> 3)) % words.length]} `;
  writeFileSync(path, text);
  return path;
}

const small = (path: string) =>
  [
    'train',
    '--data',
    path,
    '--hidden-size',
    '32',
    '--num-hidden-layers',
    '1',
    '--num-attention-heads',
    '2',
  ].concat([
    '--max-position-embeddings',
    '16',
    '--batch-size',
    '4',
    '--device',
    'cpu',
    '--threads',
    '1',
    '--dropout',
    '0.1',
  ]);

const latestWeights = async (run: string) =>
  readFileSync(join((await openCheckpoint(run, { prefer: 'latest' })).folder, 'model.safetensors'));

test.serial('train, evaluate and generate follow each other', async (t) => {
  const folder = temporaryFolder(t);
  const run = join(folder, 'run');
  const trained = await heddle(folder, [
    ...small(textFile(folder)),
    '--max-steps',
    '60',
    '--eval-every',
    '20',
    '--json',
    '--out',
    run,
  ]);
  t.is(trained.code, 0, trained.stderr);
  const all = events(trained.stdout);
  const done = all.at(-1);
  t.deepEqual(Object.keys(done).slice(0, 7), [
    'event',
    'step',
    'trainLoss',
    'validLoss',
    'bitsPerCharacter',
    'tokensPerSecond',
    'seconds',
  ]);
  t.deepEqual(Object.keys(all[0]), [
    'event',
    'step',
    'loss',
    'learningRate',
    'gradientNorm',
    'tokensPerSecond',
  ]);
  t.is(all.filter(({ event }) => event === 'evaluation').length, 3);

  const scored = await heddle(folder, ['evaluate', run, '--json']);
  t.is(scored.code, 0, scored.stderr);
  t.true(
    Math.abs(JSON.parse(scored.stdout).loss - done.validLoss) < 1e-5,
    'the best weights are those of the last step here',
  );

  const written = await heddle(folder, [
    'generate',
    run,
    '--prompt',
    'loom ',
    '--max-new-tokens',
    '30',
    '--seed',
    '4',
  ]);
  t.is(written.code, 0, written.stderr);
  t.is(written.stdout.length, 'loom '.length + 30 + 1);
  t.regex(written.stderr, /context holds 16/);

  const beams = [
    '--prompt',
    'loom ',
    '--max-new-tokens',
    '6',
    '--num-beams',
    '3',
    '--num-return-sequences',
    '2',
  ];
  const searched = await heddle(folder, ['generate', run, ...beams, '--json']);
  t.is(searched.code, 0, searched.stderr);
  const [{ hypotheses }, last] = searched.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.is(hypotheses.length, 2);
  t.true(hypotheses[0].score >= hypotheses[1].score && hypotheses[0].text.length === 6);
  t.is(last.event, 'done');

  writeFileSync(join(folder, 'prompts.txt'), 'loom \nweft \n');
  const batch = ['--prompts', join(folder, 'prompts.txt'), '--max-new-tokens', '40', '--stop', ' ', '--json'];
  const completed = await heddle(folder, ['generate', run, ...batch]);
  t.is(completed.code, 0, completed.stderr);
  const texts = completed.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .slice(0, 2);
  t.deepEqual(
    texts.map(({ prompt, end, text }) => [prompt, end, text.includes(' ')]),
    [
      ['loom ', 'stop', false],
      ['weft ', 'stop', false],
    ],
  );
  const contradicting = await heddle(folder, ['generate', run, '--num-beams', '3', '--top-k', '4']);
  t.is(contradicting.code, 2);
  t.regex(contradicting.stderr, /--top-k belongs to sampling/);
});

test.serial('kill -9 in mid-run, resumed: log and weights are those of a run never killed', async (t) => {
  const folder = temporaryFolder(t);
  const flags = [
    ...small(textFile(folder)),
    '--max-steps',
    '200',
    '--checkpoint-every',
    '50',
    '--eval-every',
    '40',
    '--json',
  ];
  const [whole, killed] = [join(folder, 'whole'), join(folder, 'killed')];
  t.is((await heddle(folder, [...flags, '--out', whole])).code, 0);
  const first = await heddle(folder, [...flags, '--log-every', '1', '--out', killed], (output, child) => {
    if (output.includes('"step":120,')) child.kill('SIGKILL');
  });
  t.is(first.signal, 'SIGKILL');
  const resumed = await heddle(folder, [...flags, '--out', killed, '--resume']);
  t.is(resumed.code, 0, resumed.stderr);
  t.is(
    readFileSync(join(killed, 'metrics.jsonl'), 'utf8'),
    readFileSync(join(whole, 'metrics.jsonl'), 'utf8'),
  );
  t.deepEqual(await latestWeights(killed), await latestWeights(whole));
});

test.serial('Ctrl-C saves a checkpoint and exits with 130; --resume goes on to the same end', async (t) => {
  const folder = temporaryFolder(t);
  const flags = [...small(textFile(folder)), '--max-steps', '150', '--eval-every', '60'];
  const [whole, stopped] = [join(folder, 'whole'), join(folder, 'stopped')];
  t.is((await heddle(folder, [...flags, '--out', whole])).code, 0);
  let sent = false;
  const first = await heddle(
    folder,
    [...flags, '--json', '--log-every', '1', '--out', stopped],
    (output, child) => {
      if (!sent && output.includes('"step":70,')) sent = child.kill('SIGINT');
    },
  );
  t.is(first.code, 130, first.stderr);
  t.is(events(first.stdout).at(-1).reason, 'aborted');
  t.is((await heddle(folder, [...flags, '--out', stopped, '--resume'])).code, 0);
  t.is(
    readFileSync(join(stopped, 'metrics.jsonl'), 'utf8'),
    readFileSync(join(whole, 'metrics.jsonl'), 'utf8'),
  );
  t.deepEqual(await latestWeights(stopped), await latestWeights(whole));
});

test.serial('plain lines in a pipe, with a table of evaluations', async (t) => {
  const folder = temporaryFolder(t);
  const { stdout, code } = await heddle(folder, [
    ...small(textFile(folder)),
    '--max-steps',
    '40',
    '--eval-every',
    '20',
    '--out',
    join(folder, 'run'),
  ]);
  t.is(code, 0);
  t.false(stdout.includes('\r') || stdout.includes('\u001b'));
  t.regex(stdout, /step +train loss +valid loss +perplexity +bits\/char/);
  t.regex(stdout, /finished at step 40 after/);
});

const refused: [name: string, args: (path: string, folder: string) => string[], message: RegExp][] = [
  [
    'an unknown flag',
    (path) => [...small(path), '--hiden-size', '3'],
    /--hiden-size; did you mean --hidden-size/,
  ],
  [
    'a missing file',
    (_, folder) => ['train', '--data', join(folder, 'none.txt')],
    /there is no file or folder .*none\.txt/,
  ],
  [
    'an empty corpus',
    (_, folder) => ['train', '--data', join(folder, 'empty.txt')],
    /is empty: its files hold no text/,
  ],
  [
    'heads that do not divide',
    (path) => [...small(path), '--num-attention-heads', '5'],
    /32 is not divisible by numAttentionHeads 5; use 4 or 8/,
  ],
  [
    'a text shorter than a window',
    (_, folder) => ['train', '--data', join(folder, 'short.txt')],
    /one window of sequenceLength/,
  ],
  [
    'no checkpoint to resume',
    (path, folder) => [...small(path), '--resume', '--out', join(folder, 'nothing')],
    /does not exist/,
  ],
  ['a folder that is no checkpoint', (_, folder) => ['generate', folder], /neither a run nor a checkpoint/],
  ['a model that is a file', (path) => ['evaluate', path], /is a file/],
  ['a GPU that is not there', (path) => [...small(path), '--device', 'cuda'], /CUDA/],
  ['an impossible value', (path) => [...small(path), '--batch-size', '0'], /--batch-size/],
  [
    'an unknown key in a file',
    (path, folder) => [...small(path), '--config', join(folder, 'bad.yaml')],
    /hidenSize.*hiddenSize/,
  ],
];

for (const [name, args, message] of refused) {
  test.serial(`refused with one sentence and exit code 2: ${name}`, async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'empty.txt'), '');
    writeFileSync(join(folder, 'short.txt'), 'too short');
    writeFileSync(join(folder, 'bad.yaml'), 'hidenSize: 64\n');
    const { code, stderr, stdout } = await heddle(folder, args(textFile(folder), folder));
    t.is(code, 2, `${stdout}${stderr}`);
    t.regex(stderr, message);
    t.is(stderr.trim().split('\n').length, 1, stderr);
  });
}

test.serial('plan counts what training allocates, and doctor and prepare report', async (t) => {
  const folder = temporaryFolder(t);
  const shape = [
    '--hidden-size',
    '32',
    '--num-hidden-layers',
    '2',
    '--num-attention-heads',
    '2',
    '--vocab-size',
    '50',
  ];
  const { stdout } = await heddle(folder, ['plan', ...shape, '--json']);
  const planned = JSON.parse(stdout);
  // Embeddings 50 x 32 and 64 x 32; per layer 12 h^2 + 13 h; final norm 2 h (Radford et al. 2019).
  t.is(planned.parameterCount, 50 * 32 + 64 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32);
  t.true(
    planned.memory.activations > 0 && planned.flopsPerToken.training > 2 * planned.flopsPerToken.forward,
  );
  const { vocabSize, estimated, tokens, positions, layers, rest } = planned.estimate;
  t.deepEqual([vocabSize, estimated, tokens], [50, 50 + 64 ** 2 * 32, 50 * 32]);
  t.is(tokens + positions + layers + rest, planned.parameterCount);
  t.true(planned.recomputed.activations < planned.memory.activations);
  t.true(planned.recomputed.flopsPerToken > planned.flopsPerToken.training);
  const recomputed = JSON.parse((await heddle(folder, ['plan', ...shape, '--recompute', '--json'])).stdout);
  t.is(recomputed.memory.activations, planned.recomputed.activations);
  const { stdout: text } = await heddle(folder, ['plan', ...shape]);
  t.regex(text, /layers\.1\.feedForward\.down\.weight +128 x 32 +4,096/);
  t.regex(text, /V \+ T\^2 d \+ O\(log T\): 50 \+ 64\^2 x 32 = 131,122, exact /);
  t.regex((await heddle(folder, ['doctor'])).stdout, /CPU kernels +baseline/);
  const prepared = JSON.parse((await heddle(folder, ['prepare', textFile(folder), '--json'])).stdout);
  t.true(prepared.tokens >= 20_000 && prepared.reused === false);
  t.true(
    JSON.parse((await heddle(folder, ['prepare', textFile(folder), '--json'])).stdout).tokens ===
      prepared.tokens,
  );
});
