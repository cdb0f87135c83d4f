// Reports are made up here, and their GPU is named as such: nothing of them may reach bench/results.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'heddle-gpu-results-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const peer = (way: string, median: number) => ({
  way,
  milliseconds: { median },
  tokensPerSecond: 16384 / (median / 1000),
});
const madeUp = {
  date: '2001-02-03T04:05:06.000Z',
  gpu: 'Made-up GPU 9000, 1.2, 3 MiB, 9.9',
  device: 'cuda',
  quick: false,
  stages: {
    doctor: { status: 'passed', doctor: { addon: { cuda: { cublas: { file: 'x', version: '13.0.2' } } } } },
    conformance: { status: 'failed' },
    benchmark: {
      status: 'passed',
      cases: [
        {
          name: 'character model',
          tokens: 16384,
          ours: {
            precision: 'float32',
            milliseconds: { median: 10 },
            tokensPerSecond: 1638400,
            memory: { arenaBytes: 2 ** 21, gpuBytes: 3 * 2 ** 20 },
          },
          peers: [peer('eager', 40), peer('compile', 20), { way: 'flash', error: 'no time left' }],
        },
        { name: 'gpt2', notRun: 'no time left' },
      ],
    },
  },
};

let calls = 0;
/** The command in a copy of the pages it changes. */
function take(report: object, page?: string) {
  const home = join(folder, `call-${calls++}`);
  mkdirSync(join(home, 'docs'), { recursive: true });
  if (page === undefined) cpSync(join(root, 'docs', 'performance.md'), join(home, 'docs', 'performance.md'));
  else writeFileSync(join(home, 'docs', 'performance.md'), page);
  return { home, run: (next: object = report) => again(home, next) };
}
function again(home: string, report: object) {
  const file = join(home, 'report.json');
  writeFileSync(file, JSON.stringify(report));
  const script = join(root, 'scripts', 'gpu-results.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, file, '--root', home], {
    encoding: 'utf8',
  });
  const page = readFileSync(join(home, 'docs', 'performance.md'), 'utf8');
  const results = join(home, 'bench', 'results');
  return { status, stderr, page, results: existsSync(results) ? readdirSync(results) : [] };
}

test('a report becomes a result and a table', (t) => {
  const before = readFileSync(join(root, 'docs', 'performance.md'), 'utf8');
  const { status, page, results } = take(madeUp).run();
  t.is(status, 0);
  t.deepEqual(results, ['gpu-made-up-gpu-9000.json']);
  t.true(
    page.includes(
      '### Made-up GPU 9000\n\n2001-02-03, driver 1.2, 3 MiB, cuBLASLt 13.0.2: `sh gpu-bundle/run.sh',
    ),
  );
  t.true(page.includes('doctor passed, conformance failed'));
  t.true(
    page.includes(
      '| character model | float32 | 16,384 | 10.0 ms | 1,638,400 | 3 MiB | 20.0 ms (compile) | 2.00 |',
    ),
  );
  t.false(page.includes('gpt2'), 'what was not measured has no row');
  t.false(page.includes('Nothing has been measured'));
  const start = before.indexOf('<!-- GPU results');
  t.is(page.slice(0, start), before.slice(0, start));
  t.true(page.endsWith(before.slice(before.indexOf('<!-- end of the GPU results'))));
});

test('taking a report again changes nothing; another GPU gets a table of its own', (t) => {
  const { run } = take(madeUp);
  const first = run();
  t.is(run().page, first.page);
  const { page, results } = run({ ...madeUp, gpu: 'NVIDIA Made-up B, 1.2, 4 MiB, 9.9' });
  t.deepEqual(results, ['gpu-made-up-b.json', 'gpu-made-up-gpu-9000.json']);
  t.is(page.match(/^### /gm)!.length - first.page.match(/^### /gm)!.length, 1);
});

test('what is no measurement on a GPU is refused, and nothing is written', (t) => {
  const refused: [object, RegExp][] = [
    [{ ...madeUp, gpu: 'none: nvidia-smi does not answer' }, /not measured on a GPU/],
    [{ ...madeUp, device: 'cpu' }, /not measured on a GPU/],
    [{ ...madeUp, quick: true }, /--quick/],
    [{ ...madeUp, date: undefined }, /no date/],
    [{ ...madeUp, stages: { doctor: { status: 'passed' } } }, /no measured case/],
  ];
  for (const [report, message] of refused) {
    const { status, stderr, results } = take(report).run();
    t.is(status, 2);
    t.regex(stderr, message);
    t.deepEqual(results, []);
  }
  const { status, stderr } = take(madeUp, '# Performance\n').run();
  t.is(status, 2);
  t.regex(stderr, /lacks the lines/);
});

test('no made-up result is among the results', (t) => {
  const results = join(root, 'bench', 'results');
  for (const name of readdirSync(results)) t.notRegex(readFileSync(join(results, name), 'utf8'), /Made-up/);
});
