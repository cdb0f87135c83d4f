// LoRA on the command line: train on top of a run, ask the adapters, merge them, for every kind of model.
import { readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { commands, last } from './heddle.js';

const flags = (line: string) => line.split(' ');
const sizes = flags(
  '--hidden-size 32 --num-hidden-layers 2 --num-attention-heads 2 --max-position-embeddings 32',
);
const run = flags('--batch-size 8 --device cpu --threads 1 --learning-rate 0.01 --warmup-steps 5 --json');
const lora = flags('--lora-rank 4 --lora-alpha 8 --lora-dropout 0.05');
const first = (output: string) => JSON.parse(output.split('\n')[0]);
const latest = async (folder: string) => (await openCheckpoint(folder, { prefer: 'latest' })).folder;

const colours = ['red', 'blue', 'green', 'black'];
const things = ['loom', 'reed', 'weft', 'warp', 'cloth'];
const lines = Array.from(
  { length: 200 },
  (_, i) => `the ${things[i % 5]} is ${colours[(7 * i + (i >> 2)) % 4]}`,
);

test.serial('prompts with completions teach adapters what the base does not say', async (t) => {
  const { at, succeed, refused, write } = commands(t);
  const text = write('text.txt', [...lines, 'abcdefghijklmnopqrstuvwxyz {}?']);
  await succeed('train', '--data', text, ...sizes, ...run, '--max-steps', '150', '--out', at('base'));
  const rows = write(
    'rows.jsonl',
    things.map((thing, i) => JSON.stringify({ prompt: `${thing}?`, completion: ` ${colours[i % 4]}` })),
  );
  const learn = ['train', '--objective', 'completion', '--data', rows, '--valid-data', rows, ...run];
  const tune = [...learn, '--init-from', at('base'), ...lora];
  const out = ['--out', at('tuned')];
  const tuned = await succeed(...tune, '--max-steps', '60', ...out);
  t.regex(first(tuned).message, /28 tensors are those of .*base$/, 'sizes are those of the base');
  await succeed(...tune, '--max-steps', '150', ...out, '--resume');

  const folder = await latest(at('tuned'));
  t.false(readdirSync(folder).includes('model.safetensors'));
  const [small, large] = [
    join(folder, 'adapter_model.safetensors'),
    join(at('base'), 'best', 'model.safetensors'),
  ];
  t.true(3 * statSync(small).size < statSync(large).size, 'rank 4 of 32 in every layer');
  t.deepEqual(first(readFileSync(join(folder, 'adapter_config.json'), 'utf8').replaceAll('\n', '')).r, 4);

  const scored = await succeed('evaluate', at('tuned'), '--json');
  const answer = async (model: string, prompt: string, ...more: string[]) =>
    (
      await succeed('generate', model, '--prompt', prompt, '--greedy', '--max-new-tokens', '12', ...more)
    ).trim();
  for (const [i, thing] of things.entries())
    t.is(await answer(at('tuned'), `${thing}?`), `${thing}? ${colours[i % 4]}`, 'and there it ends');
  t.not(await answer(at('base'), 'loom?'), 'loom? red');

  await succeed('merge', at('tuned'), '--out', at('merged'));
  const mergedScore = last(await succeed('evaluate', at('merged'), '--json'));
  t.true(Math.abs(mergedScore.loss - last(scored).loss) < 1e-5, `${mergedScore.loss}, ${scored}`);
  t.is(mergedScore.accuracy, 1);
  await refused(/there already/, 'merge', at('tuned'), '--out', at('merged'));
  await refused(/--out is missing/, 'merge', at('tuned'));

  renameSync(at('base'), at('moved'));
  await refused(/the base of these adapters cannot be opened/, 'generate', at('tuned'));
  await refused(/not the base of these adapters/, 'evaluate', at('tuned'), '--base', at('merged'));
  t.is(await answer(at('tuned'), 'reed?', '--base', at('moved')), 'reed? blue');
  t.is(await answer(at('merged'), 'reed?'), 'reed? blue');

  await refused(/name it with --init-from/, ...learn, ...lora, '--out', at('x'));
  const anew = ['--init-from', at('moved'), '--out', at('x')];
  await refused(/--lora-alpha needs adapters/, ...learn, ...anew, '--lora-alpha', '2');
  await refused(
    /'q_proj' names no dense layer; the model has attention.qkv, attention.output,/,
    ...learn,
    ...anew,
    '--lora-rank',
    '2',
    '--lora-targets',
    'q_proj',
  );
  await refused(/--lora-rank: expected a whole number/, ...learn, ...anew, '--lora-rank', '-1');
  await refused(/holds adapters.*heddle merge/, ...learn, '--init-from', at('tuned'), '--out', at('x'));
  await refused(/holds adapters.*heddle merge/, 'embed', at('tuned'), '--export', at('v.txt'));
  const planned = last(await succeed('plan', ...learn.slice(1), ...lora, '--init-from', at('moved')));
  t.true(planned.memory.optimizerState < planned.memory.parameters, 'two moments of adapters only');
});

test.serial('labels: the head that the base lacks is trained and saved with the adapters', async (t) => {
  const { at, succeed, refused, write } = commands(t);
  const text = write('text.txt', lines);
  const labelled = write(
    'rows.tsv',
    lines.map((line) => `${line}\t${line.includes('o') ? 'round' : 'other'}`),
  );
  const bases = { gpt2: 'causal', bert: 'masked' };
  for (const [family, objective] of Object.entries(bases)) {
    const [base, tuned, merged] = [at(`${family}-base`), at(`${family}-tuned`), at(`${family}-merged`)];
    const pretrain = ['--objective', objective, '--data', text, '--max-steps', '60', '--out', base];
    await succeed('train', ...pretrain, ...sizes, ...run);
    const labels = ['--objective', 'classification', '--data', labelled, '--valid-data', labelled, ...run];
    const output = await succeed(
      ...['train', ...labels, '--init-from', base, ...lora, '--pooling', 'mean'],
      ...['--max-steps', '200', '--early-stopping-metric', 'accuracy', '--out', tuned],
    );
    t.regex(first(output).message, /these start anew: (score|classifier).weight/);
    t.true(last(output).accuracy > 0.9, `${family}: ${last(output).accuracy}`);
    const config = JSON.parse(readFileSync(join(await latest(tuned), 'adapter_config.json'), 'utf8'));
    t.deepEqual(config.modules_to_save, [family === 'bert' ? 'classifier' : 'score']);
    t.is(config.task_type, 'SEQ_CLS');
    await succeed('merge', tuned, '--out', merged);
    const ask = async (model: string) =>
      last(await succeed('classify', model, '--text', 'the loom is blue', '--json')).probabilities.round;
    const [apart, together] = [await ask(tuned), await ask(merged)];
    t.true(apart > 0.5 && Math.abs(apart - together) < 1e-5, `${apart} and ${together}`);
  }
  await refused(/classify needs/, 'classify', at('gpt2-base'), '--text', 'a');
});

test.serial('masked tokens, spans and pairs train adapters too', async (t) => {
  const { at, succeed, write } = commands(t);
  const text = write('text.txt', lines);
  const upper = write(
    'upper.txt',
    lines.map((line) => line.replaceAll('is', 'was')),
  );
  const pairs = ['--source', text, '--target', upper, '--valid-source', text, '--valid-target', upper];
  const runs: Record<string, string[]> = {
    masked: ['--data', text],
    denoising: ['--data', text],
    'sequence-to-sequence': [...pairs, '--tokens-per-batch', '256'],
  };
  for (const [objective, files] of Object.entries(runs)) {
    const [base, tuned, merged] = [at(objective), at(`${objective}-tuned`), at(`${objective}-merged`)];
    const learn = ['train', '--objective', objective, ...files, ...run, '--max-steps', '12'];
    await succeed(...learn, ...sizes, '--out', base);
    const output = await succeed(...learn, '--init-from', base, ...lora, '--out', tuned);
    const score = async (model: string) => last(await succeed('evaluate', model, '--json')).loss;
    await succeed('merge', tuned, '--out', merged);
    const [apart, together] = [await score(tuned), await score(merged)];
    t.true(Math.abs(apart - together) < 1e-5, `${objective}: ${apart} and ${together}`);
    if (objective !== 'masked') await succeed('translate', tuned, '--text', lines[0], '--base', base);
    t.is(last(output).reason, 'finished');
  }
});
