import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { chosenOf, parseCommand } from '../../bench/commandLine.js';

const main = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
const run = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });

test('a command has a name, files, lists and numbers', (t) => {
  const { name, rest, options, json, out } = parseCommand(
    'plot a.json b.json --cases d128,d384 --peers torch --threads 2 --rounds 3 --out x/y --json'.split(' '),
  );
  t.deepEqual([name, rest, json, out], ['plot', ['a.json', 'b.json'], true, 'x/y']);
  t.deepEqual(options.cases, ['d128', 'd384']);
  t.deepEqual([options.threads, options.rounds, options.steps], [2, 3, undefined]);
  t.is(parseCommand([]).name, 'step');
  t.deepEqual(parseCommand(['step', '--peers', '']).options.peers, []);
});

test('items are chosen by name, in their own order', (t) => {
  const all = [{ name: 'a' }, { name: 'b' }, { name: 'c' }];
  t.deepEqual(chosenOf('cases', ['c', 'a'], all), [{ name: 'a' }, { name: 'c' }]);
  t.deepEqual(chosenOf('cases', undefined, all, ['b']), [{ name: 'b' }]);
  t.deepEqual(chosenOf('cases', [], all), []);
  const error = t.throws(() => chosenOf('cases', ['d'], all), { instanceOf: ConfigError });
  t.is(error.message, "--cases: expected some of a, b, c but received 'd'");
});

for (const [args, message] of [
  ['weave', /^expected a benchmark of step, .* but received 'weave'$/],
  ['step --cases d1', /^--cases: expected some of tiny, d128, d384, d512 but received 'd1'$/],
  ['step --peers jax', /^--peers: expected some of torch, tfjs-wasm, tfjs-cpu but received 'jax'$/],
  ['step --precisions fp8', /^--precisions: expected some of float32, bf16 but received 'fp8'$/],
  ['step --threads 0', /^--threads: expected a whole number from 1 but received '0'$/],
  ['step --fast', /^Unknown option '--fast'$/],
] as const) {
  test(`${args} costs one sentence and exit code 2`, (t) => {
    const { status, stdout, stderr } = run(...args.split(' '));
    t.is(status, 2);
    t.is(stdout, '');
    t.regex(stderr.trimEnd(), message);
  });
}

test('a benchmark with --json prints one object on one line', (t) => {
  const args = 'step --cases tiny --precisions float32 --threads 1 --rounds 1 --json --peers'.split(' ');
  const { status, stdout } = run(...args, '');
  t.is(status, 0);
  t.is(stdout.trimEnd().split('\n').length, 1);
  const { machine, cases } = JSON.parse(stdout);
  t.is(typeof machine.processor, 'string');
  t.is(cases.length, 1);
  const [{ name, precision, threads, ours, peers }] = cases;
  t.deepEqual([name, precision, threads, peers], ['tiny', 'float32', 1, {}]);
  t.true(ours.min > 0 && ours.min <= ours.median && ours.median <= ours.max);
});
