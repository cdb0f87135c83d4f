// profile and verify, with the flags of train.
import test from 'ava';
import { commands } from './heddle.js';

const sizes =
  '--hidden-size 16 --num-hidden-layers 1 --num-attention-heads 2 --max-position-embeddings 32 --batch-size 4 --threads 1'.split(
    ' ',
  );
const lines = Array.from({ length: 60 }, (_, index) => `${'ab'[index % 2].repeat(3 + (index % 5))} loom`);

test.serial('profile and verify take the step that train would make, whatever it learns', async (t) => {
  const { heddle, write } = commands(t);
  const text = write('text.txt', lines);
  const labels = write(
    'labels.tsv',
    lines.map((line, index) => `${line}\t${index % 2}`),
  );
  const pairs = ['--source', text, '--target', text, '--valid-source', text, '--valid-target', text];
  const runs: Record<string, readonly string[]> = {
    causal: [],
    masked: ['--data', text],
    classification: ['--data', labels, '--valid-data', labels],
    'bag-of-words': ['--data', labels, '--valid-data', labels],
    'sequence-to-sequence': [...pairs, '--tokens-per-batch', '128'],
  };
  for (const [objective, data] of Object.entries(runs)) {
    const flags = ['--objective', objective, ...data, ...sizes];
    const profiled = await heddle('profile', ...flags, '--device', 'cpu', '--runs', '1', '--json');
    t.is(profiled.code, 0, profiled.stderr);
    const { instructions, flops } = JSON.parse(profiled.stdout);
    t.true(instructions.length > 5 && flops > 0, objective);
    const verified = await heddle('verify', ...flags, '--devices', 'cpu,cpu', '--json');
    t.is(verified.code, 0, verified.stderr);
    t.true('adamw' in JSON.parse(verified.stdout).ops, objective);
  }
  const half = await heddle('profile', ...sizes, '--precision', 'bf16', '--recompute', '--runs', '1');
  t.is(half.code, 0, half.stderr);
  t.regex(half.stdout, /instructions in .* on cpu/);
  const missing = await heddle('profile', '--objective', 'masked', '--data', 'absent.txt', ...sizes);
  t.is(missing.code, 2);
  t.regex(missing.stderr, /there is no file or folder absent\.txt/);
});
