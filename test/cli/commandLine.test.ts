import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const program = fileURLToPath(new URL('./sampleProgram.js', import.meta.url));

type Child = ReturnType<typeof spawn>;

async function run(
  args: string[],
  during: (child: Child) => unknown = () => {},
  env: Record<string, string> = {},
) {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, HEDDLE_DEBUG: '', ...env },
  });
  const texts = { stdout: '', stderr: '' };
  child.stdout.on('data', (text) => {
    texts.stdout += text;
  });
  child.stderr.on('data', (text) => {
    texts.stderr += text;
  });
  await during(child);
  const [code, signal] = await once(child, 'close');
  return { code, signal, ...texts };
}

const ready = (child: Child) => once(child.stdout!, 'data');

test('runs a command with its settings', async (t) => {
  const { code, stdout, stderr } = await run(['print', 'corpus.txt', '--rows', '8', '--quick']);
  t.deepEqual(JSON.parse(stdout), {
    settings: { data: 'corpus.txt', rows: 8, quick: true },
    given: ['data', 'rows', 'quick'],
  });
  t.is(stderr, '');
  t.is(code, 0);
});

test('prints help and the version', async (t) => {
  const { version } = JSON.parse(
    await readFile(fileURLToPath(new URL('../../../package.json', import.meta.url)), 'utf8'),
  );
  t.is((await run(['--version'])).stdout, `${version}\n`);
  for (const args of [[], ['--help'], ['-h']]) {
    const { code, stdout } = await run(args);
    t.is(code, 0);
    t.regex(stdout, /Usage: heddle <command>.*print {2,}Shows print\n.*stubborn {2,}Shows stubborn\n/s);
  }
  const { code, stdout } = await run(['print', '--rows', '0', '--help']);
  t.is(code, 0);
  t.is(
    stdout,
    `heddle print: Shows print

Usage: heddle print [data] [flags]

Example:
  heddle print --rows 2

Settings:
  --data <text>                 Corpus (default sotu)
  --rows <number>               Rows of a batch (rows; default 4)
  --clean none|text8            Cleaning
  --quick                       Skip the slow part

General:
  --config <file>               Settings from a .yaml or .json file, under their names in camelCase;
                                flags come before it
  -h, --help                    This text
`,
  );
});

test('errors are one sentence on standard error, never a stack', async (t) => {
  const cases: [string[], number, string][] = [
    [['prnt'], 2, 'heddle: unknown command "prnt"; did you mean print?\n'],
    [['print', '--row', '1'], 2, 'heddle print: unknown flag --row; did you mean --rows?\n'],
    [['print', '--rows', '0'], 2, 'heddle print: --rows: expected a whole number of at least 1, got 0\n'],
    [['refuse'], 2, 'heddle refuse: the corpus is empty; give another file\n'],
    [['reject'], 1, 'heddle reject: internal error: nobody waits; set HEDDLE_DEBUG=1 for details\n'],
  ];
  for (const [args, code, stderr] of cases) {
    t.like(await run(args), { code, stdout: '', stderr });
  }
  const { code, stderr } = await run(['break']);
  t.is(code, 1);
  t.regex(stderr, /^heddle break: internal error: .*trim.*; set HEDDLE_DEBUG=1 for details\n$/);
  t.regex((await run(['break'], undefined, { HEDDLE_DEBUG: '1' })).stderr, /\n {4}at /);
});

test('a signal stops the command, which may save first', async (t) => {
  const signalled = (args: string[], signal: NodeJS.Signals) =>
    run(args, async (child) => {
      await ready(child);
      child.kill(signal);
    });
  const notice = '\nheddle: stopping; press Ctrl-C again to leave at once\n';
  t.like(await signalled(['wait'], 'SIGINT'), { code: 130, stderr: notice });
  t.like(await signalled(['wait'], 'SIGTERM'), { code: 143, stderr: '' });
  t.like(await signalled(['finish'], 'SIGINT'), { code: 130, stdout: 'ready\nsaved\n' });
  t.like(await signalled(['fail-late'], 'SIGTERM'), { code: 2, stderr: 'heddle fail-late: cannot save\n' });
});

test('a second signal ends the process at once', async (t) => {
  const { code } = await run(['stubborn'], async (child) => {
    await ready(child);
    child.kill('SIGINT');
    await once(child.stderr!, 'data');
    child.kill('SIGINT');
  });
  t.is(code, 130);
});

test('a reader that closes the pipe stops the command quietly', async (t) => {
  const { code, stderr } = await run(['chatter'], async (child) => {
    await ready(child);
    child.stdout!.destroy();
  });
  t.is(stderr, '');
  t.is(code, 0);
});
