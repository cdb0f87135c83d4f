// The objectives on the command line: train, evaluate, and what a model of each is for.
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { commands, last } from './heddle.js';

const sizes =
  '--hidden-size 16 --num-hidden-layers 1 --num-attention-heads 2 --max-position-embeddings 32 --batch-size 8'
    .concat(' --device cpu --threads 1 --learning-rate 0.01 --warmup-steps 5')
    .split(' ');
const lines = Array.from(
  { length: 120 },
  (_, index) => `${'ab'[index % 2].repeat(3 + (index % 5))} loom ${index % 7}`,
);

test.serial('pairs: train, evaluate, translate; generate and classify refuse by name', async (t) => {
  const { folder, heddle, write } = commands(t);
  const [source, target] = [
    write('a.txt', lines),
    write(
      'b.txt',
      lines.map((line) => line.toUpperCase()),
    ),
  ];
  const files = ['--source', source, '--target', target, '--valid-source', source, '--valid-target', target];
  const flags = ['--objective', 'sequence-to-sequence', ...files, '--tokens-per-batch', '256', ...sizes];
  const run = join(folder, 'run');
  const trained = await heddle('train', ...flags, '--max-steps', '30', '--out', run, '--json');
  t.is(trained.code, 0, trained.stderr);
  const resumed = await heddle('train', ...flags, '--max-steps', '40', '--out', run, '--resume', '--json');
  t.is(resumed.code, 0, resumed.stderr);
  t.is(last(resumed.stdout).step, 40);
  const scored = await heddle('evaluate', run, '--json');
  t.is(scored.code, 0, scored.stderr);
  t.true(Math.abs(last(scored.stdout).loss - last(resumed.stdout).validLoss) < 1e-4);
  t.regex((await heddle('evaluate', run)).stdout, /part +targets +loss +perplexity +accuracy/);
  t.regex((await heddle('generate', run)).stderr, /continues no texts/);
  t.regex((await heddle('classify', run, '--text', 'a')).stderr, /sequence-to-sequence; classify needs/);
  t.is((await heddle('translate', run, '--text', 'aaa loom 1')).code, 0);
  const shorter = write('c.txt', lines.slice(1));
  const unequal = await heddle(
    'train',
    '--objective',
    'sequence-to-sequence',
    '--source',
    source,
    '--target',
    shorter,
  );
  t.is(unequal.code, 2);
  t.regex(unequal.stderr, /120 lines.*119/);
});

test.serial(
  'tokens that training appended to a tokenizer are no bar to translating, nor to fine-tuning',
  async (t) => {
    const { folder, heddle, write } = commands(t);
    const text = write('text.txt', lines);
    const tokenizer = join(folder, 'characters.json');
    const learnt = await heddle('tokenizer', 'train', 'characters', '--data', text, '--out', tokenizer);
    t.is(learnt.code, 0, learnt.stderr);
    const [base, run] = [join(folder, 'base'), join(folder, 'run')];
    const denoised = await heddle(
      ...['train', '--objective', 'denoising', '--data', text, '--tokenizer', tokenizer, ...sizes],
      ...['--max-steps', '10', '--out', base, '--json'],
    );
    t.is(denoised.code, 0, denoised.stderr);
    t.is((await heddle('translate', base, '--text', 'aaa loom 1')).code, 0, 'bos, eos and mask are appended');
    const pairs = ['--source', text, '--target', text, '--valid-source', text, '--valid-target', text];
    const flags = ['--objective', 'sequence-to-sequence', ...pairs, '--model-type', 'bart', ...sizes];
    const tuned = await heddle(
      ...['train', ...flags, '--tokens-per-batch', '512', '--init-from', base],
      ...['--max-steps', '120', '--out', run, '--json'],
    );
    t.is(tuned.code, 0, tuned.stderr);
    t.regex(
      JSON.parse(tuned.stdout.split('\n')[0]).message,
      /tensors are those of .*base$/,
      'the mask has its row',
    );
    const said = await heddle('translate', run, '--text', lines[3], '--num-beams', '1', '--json');
    t.is(said.code, 0, said.stderr);
    t.true(JSON.parse(said.stdout.split('\n')[0]).hypotheses[0].text.includes('loom'), said.stdout);
    const scored = await heddle('evaluate', run, '--json');
    t.true(Math.abs(last(scored.stdout).loss - last(tuned.stdout).validLoss) < 1e-4, scored.stderr);
  },
);

test.serial(
  'labels: a classifier starts from a language model of the same text and names its classes',
  async (t) => {
    const { folder, heddle, write } = commands(t);
    const text = write('text.txt', lines);
    const pretrained = join(folder, 'pretrained');
    const model = await heddle(
      'train',
      '--data',
      text,
      ...sizes,
      '--max-steps',
      '20',
      '--out',
      pretrained,
      '--json',
    );
    t.is(model.code, 0, model.stderr);
    const labelled = write(
      'train.tsv',
      lines.map((line) => `${line}\t${line[0] === 'a' ? 'warp' : 'weft'}`),
    );
    const run = join(folder, 'run');
    const flags = [
      '--objective',
      'classification',
      '--model-type',
      'gpt2',
      '--data',
      labelled,
      '--valid-data',
      labelled,
      ...sizes,
    ];
    const tuned = await heddle(
      'train',
      ...flags,
      ...['--init-from', pretrained, '--freeze', 'embedding', '--layer-decay', '0.9'],
      ...[
        '--early-stopping-metric',
        'accuracy',
        '--pooling',
        'mean',
        '--max-steps',
        '60',
        '--out',
        run,
        '--json',
      ],
    );
    t.is(tuned.code, 0, tuned.stderr);
    const notice = JSON.parse(tuned.stdout.split('\n')[0]);
    t.regex(notice.message, /tensors are those of .*pretrained; these start anew: score\.weight$/);
    t.true(last(tuned.stdout).accuracy > 0.9);
    const asked = await heddle('classify', run, '--text', 'aaaa loom 2', '--json');
    t.is(last(asked.stdout).label, 'warp', asked.stderr);
    const { probabilities } = last(asked.stdout);
    t.true(Math.abs(probabilities.warp + probabilities.weft - 1) < 1e-6);
    t.regex((await heddle('evaluate', run)).stdout, /valid +120 +0\.\d+ +(1\.0000|0\.9\d+) +/);
    t.regex(readFileSync(join(run, 'metrics.jsonl'), 'utf8'), /"accuracy":/);
  },
);

test.serial(
  'masked tokens, spans, infilling and completions train; what does not fit is refused',
  async (t) => {
    const { folder, heddle, write } = commands(t);
    const text = write('text.txt', lines);
    const rows = write(
      'rows.jsonl',
      lines.map((line) => JSON.stringify({ prompt: line, completion: ` ${line[0]}` })),
    );
    const runs = [
      ['masked', '--data', text, '--whole-words'],
      ['span-corruption', '--data', text],
      ['denoising', '--data', text],
      ['completion', '--data', rows, '--valid-data', rows],
    ];
    for (const [objective, ...flags] of runs) {
      const run = join(folder, objective);
      const trained = await heddle(
        'train',
        '--objective',
        objective,
        ...flags,
        ...sizes,
        '--max-steps',
        '6',
        '--out',
        run,
        '--json',
      );
      t.is(trained.code, 0, trained.stderr);
      const scored = await heddle('evaluate', run, '--json');
      t.true(Math.abs(last(scored.stdout).loss - last(trained.stdout).validLoss) < 0.3, scored.stderr);
    }
    const planned = await heddle('plan', '--objective', 'masked', '--data', text, ...sizes, '--json');
    t.true(JSON.parse(planned.stdout).parameterCount > 1000, planned.stderr);
    const wrong = await heddle('train', '--objective', 'masked', '--model-type', 'llama', '--data', text);
    t.is(wrong.code, 2);
    t.regex(wrong.stderr, /llama cannot learn the objective masked, which needs an encoder; use bert/);
  },
);

test.serial('bags of words: train, evaluate, and classify from the folder of the run alone', async (t) => {
  const { folder, heddle, write } = commands(t);
  // Which of two words comes more often says the label; unknown words do not.
  const texts = Array.from({ length: 150 }, (_, index) => {
    const [warps, wefts] = [index % 4, (index * 7) % 5];
    const words = [...Array(warps).fill('warp'), ...Array(wefts).fill('weft'), `rare${index}`];
    return `${words.join(' ')}\t${warps > wefts ? 'warped' : 'wefted'}`;
  });
  const [train, valid] = [write('train.tsv', texts), write('valid.tsv', texts.slice(0, 60))];
  const files = ['--data', train, '--valid-data', valid];
  const run = join(folder, 'run');
  const flags = ['--objective', 'bag-of-words', ...files, '--features', 'counts', '--min-count', '2'].concat(
    '--max-ngram 2 --hidden-sizes 8 --hidden-act tanh --learning-rate 0.05 --warmup-steps 5'.split(' '),
    '--batch-size 30 --device cpu --threads 1'.split(' '),
  );
  const trained = await heddle('train', ...flags, '--max-steps', '150', '--out', run, '--json');
  t.is(trained.code, 0, trained.stderr);
  t.true(last(trained.stdout).accuracy > 0.95, trained.stdout);
  const resumed = await heddle('train', ...flags, '--max-steps', '160', '--out', run, '--resume', '--json');
  t.is(last(resumed.stdout).step, 160, resumed.stderr);
  const scored = await heddle('evaluate', run, '--json');
  t.is(last(scored.stdout).accuracy, last(resumed.stdout).accuracy, scored.stderr);
  t.true(last(scored.stdout).f1 > 0.9);
  const planned = await heddle('plan', ...flags, '--json');
  const features = 5; // warp, weft, and three pairs of them: no weft stands before a warp
  t.is(JSON.parse(planned.stdout).parameterCount, (features + 1) * 8 + (8 + 1) * 2, planned.stderr);

  const moved = join(folder, 'moved');
  cpSync(join(run, 'best'), moved, { recursive: true });
  rmSync(run, { recursive: true });
  rmSync(train);
  rmSync(valid);
  for (const [text, label] of [
    ['warp warp unheard weft', 'warped'],
    ['weft of warp and weft', 'wefted'],
  ]) {
    const asked = await heddle('classify', moved, '--text', text, '--json');
    t.is(last(asked.stdout).label, label, asked.stderr);
  }
  const other = await heddle('train', '--objective', 'bag-of-words', '--model-type', 'bert', '--data', train);
  t.is(other.code, 2);
  t.regex(other.stderr, /bag-of-words has a model of its own, no bert; leave modelType out/);
  const widths = await heddle('train', '--objective', 'bag-of-words', '--hidden-sizes', '8,-1');
  t.is(widths.code, 2);
  t.regex(widths.stderr, /--hidden-sizes: expected numbers separated by commas, got 8,-1/);
});

test.serial(
  'labels of texts cleaned by the rules of text8: a base of such text reads all of them',
  async (t) => {
    const { folder, heddle, write } = commands(t);
    const text = write('text8', [' '.concat(Array(60).fill('a warp and a weft make cloth').join(' '))]);
    const [base, run] = [join(folder, 'base'), join(folder, 'run')];
    const learnt = await heddle(
      ...['train', '--data', text, '--clean', 'text8', '--tokenizer', 'words', ...sizes],
      ...['--max-steps', '5', '--out', base, '--json'],
    );
    t.is(learnt.code, 0, learnt.stderr);
    // As words between white space all of these would be unknown.
    const rows = Array.from({ length: 64 }, (_, row) => (row % 2 ? '"Warp!"\tlong' : '(WEFT)...\tacross'));
    const labelled = write('train.tsv', rows);
    const flags = ['--objective', 'classification', '--data', labelled, '--valid-data', labelled, ...sizes];
    const tuned = await heddle(
      ...['train', ...flags, '--init-from', base, '--clean', 'text8', '--pooling', 'mean'],
      ...['--max-steps', '40', '--out', run, '--json'],
    );
    t.is(tuned.code, 0, tuned.stderr);
    t.is(last(tuned.stdout).accuracy, 1);
    t.is(last((await heddle('evaluate', run, '--json')).stdout).accuracy, 1, 'cleaned as in training');
    for (const [asked, label] of [
      ['«warp»', 'long'],
      ['Weft?', 'across'],
    ]) {
      const said = await heddle('classify', run, '--text', asked, '--json');
      t.is(last(said.stdout).label, label, said.stderr);
    }
    const pairs = ['--source', text, '--target', text, '--clean', 'text8'];
    const refused = await heddle('train', '--objective', 'sequence-to-sequence', ...pairs);
    t.is(refused.code, 2);
    t.regex(refused.stderr, /the files of sequence-to-sequence are taken as they are/);
  },
);

test.serial('packed documents: prepare, train, evaluate, generate', async (t) => {
  const { folder, heddle, write } = commands(t);
  const data = write(
    'texts.jsonl',
    lines.map((text) => JSON.stringify({ text })),
  );
  const prepared = await heddle('prepare', data, '--pack-documents', '--json');
  t.is(last(prepared.stdout).documents, lines.length);
  const run = join(folder, 'run');
  const flags = ['--data', data, '--pack-documents', ...sizes, '--out', run, '--json'];
  const trained = await heddle('train', ...flags, '--max-steps', '150');
  t.is(trained.code, 0, trained.stderr);
  const scored = await heddle('evaluate', run, '--json');
  t.is(scored.code, 0, scored.stderr);
  t.true(Math.abs(last(scored.stdout).loss - last(trained.stdout).validLoss) < 1e-4);
  const written = await heddle(
    'generate',
    run,
    '--prompt',
    'aaa',
    '--temperature',
    '0',
    '--max-new-tokens',
    '60',
  );
  t.is(written.code, 0, written.stderr);
  const masked = await heddle('train', '--data', data, '--objective', 'masked', '--pack-documents', ...sizes);
  t.is(masked.code, 2);
  t.regex(masked.stderr, /packDocuments is for the objective causal/);
});

test.serial('a WordPiece tokenizer of another library: train, evaluate, generate', async (t) => {
  const { folder, heddle, write } = commands(t);
  const run = join(folder, 'run');
  const tokenizer = 'test/fixtures/wordpiece.tokenizer.json';
  const flags = ['--data', write('a.txt', lines), '--tokenizer', tokenizer, ...sizes, '--out', run, '--json'];
  const trained = await heddle('train', ...flags, '--max-steps', '100');
  t.is(trained.code, 0, trained.stderr);
  const resumed = await heddle('train', ...flags, '--max-steps', '110', '--resume');
  t.is(resumed.code, 0, resumed.stderr);
  const scored = await heddle('evaluate', run, '--json');
  t.true(Math.abs(last(scored.stdout).loss - last(resumed.stdout).validLoss) < 1e-4, scored.stderr);
  const generated = await heddle(
    'generate',
    run,
    '--prompt',
    'aaa',
    '--temperature',
    '0',
    '--max-new-tokens',
    '20',
  );
  t.is(generated.code, 0, generated.stderr);
  t.regex(generated.stdout, /loom/);
});
