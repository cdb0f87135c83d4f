import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { drawCharts } from '../../bench/plot/chart.js';
import { plotOf } from '../../bench/plot/charts.js';
import { linearTicks, logTicks, numberText, scaleOf } from '../../bench/plot/scale.js';

const main = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
const folderOf = (t: { teardown(body: () => void): void }) => {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-plot-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
};

/** Throws where elements of a document do not nest, or text holds what has to be escaped. */
function checkWellFormed(document: string): void {
  const open: string[] = [];
  let at = 0;
  for (const { 0: tag, 1: closes, 2: name, 3: ends, index } of document.matchAll(
    /<(\/?)([a-z]+)(?:\s[a-zA-Z0-9-]+="[^"<>]*")*(\/?)>/gi,
  )) {
    if (/[<>]|&(?!amp;|lt;|gt;|quot;)/.test(document.slice(at, index)))
      throw new Error(`bad text before ${tag}`);
    at = index + tag.length;
    if (closes) {
      const opened = open.pop();
      if (opened !== name) throw new Error(`${tag} closes ${opened}`);
    } else if (!ends) open.push(name);
  }
  if (open.length || document.slice(at).trim()) throw new Error(`open at the end: ${open}`);
}

const machine = {
  processor: 'A & B',
  cores: 2,
  memoryGiB: 1,
  node: 'v1',
  instructionSet: 'none',
  date: '2026-01-01',
};
const spread = (median: number) => ({ median, min: median / 2, max: 2 * median, count: 3 });

test('ticks are round and go round the values', (t) => {
  t.deepEqual(linearTicks([3, 97]), [0, 25, 50, 75, 100, 125]);
  t.deepEqual(linearTicks([0.4]), [0, 0.1, 0.2, 0.3, 0.4, 0.5]);
  t.deepEqual(logTicks([3, 40]), [2, 5, 10, 20, 50]);
  t.deepEqual(logTicks([1, 1e6]), [1, 10, 100, 1000, 1e4, 1e5, 1e6, 1e7]);
  t.deepEqual(['0.123', '1024', '12.3k', '123k', '2M'], [0.1234, 1024, 12_345, 123_456, 2e6].map(numberText));
});

test('scales map values to the paper', (t) => {
  t.is(scaleOf([0, 10], [100, 0])(2.5), 75);
  t.is(Math.round(scaleOf([1, 100], [0, 50], true)(10)), 25);
});

test('bars are as high as their values, and lines go through their points', (t) => {
  const drawing = drawCharts(
    [
      {
        kind: 'bars',
        title: 'a < b & "c"',
        yLabel: 'ms',
        groups: ['one', 'two'],
        series: [
          { name: 'first', values: [10, 20] },
          { name: 'second', values: [undefined, 5], labels: [undefined, 'five'] },
        ],
        levels: [{ name: 'goal', value: 15 }],
      },
      {
        kind: 'lines',
        title: 'lines',
        xLabel: 'x',
        yLabel: 'y',
        series: [
          {
            name: 'third',
            points: [
              [1, 1],
              [10, 100],
            ],
            isDashed: true,
          },
        ],
      },
    ],
    'foot',
  );
  t.notThrows(() => checkWellFormed(drawing));
  t.true(drawing.includes('a &lt; b &amp; &quot;c&quot;'));
  for (const text of ['first', 'second', 'third', 'one', 'two', 'five', 'goal 15', 'foot', 'ms'])
    t.regex(drawing, new RegExp(`>${text}<`));
  const bars = [...drawing.matchAll(/height="([\d.]+)" fill="[^"]+"><title>/g)].map((match) =>
    Number(match[1]),
  );
  t.is(bars.length, 3);
  t.true(Math.abs(bars[1] / bars[0] - 2) < 0.01 && Math.abs(bars[1] / bars[2] - 4) < 0.02);
  t.is(/<polyline points="([^"]+)"/.exec(drawing)![1].split(' ').length, 2);
});

test('a result of the step benchmark shows its peers and their ratios', (t) => {
  const peers = {
    torch: { ...spread(0.03), version: '2', ratio: 3 },
    'tfjs-wasm': { absent: 'not installed' },
  };
  const result = {
    machine,
    cases: [{ name: 'd128', precision: 'float32', threads: 2, loss: 4, ours: spread(0.01), peers }],
  };
  const drawing = plotOf('step', result)!;
  t.notThrows(() => checkWellFormed(drawing));
  for (const text of ['Heddle', 'PyTorch', 'd128 float32', '30', '3.00x'])
    t.regex(drawing, new RegExp(`>${text}<`));
  t.false(drawing.includes('TensorFlow.js'));
  t.is(plotOf('soak', result), undefined);
});

test('--out keeps a result and its plot, and plot draws it again', (t) => {
  const folder = folderOf(t);
  const run = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  const out = join(folder, 'here');
  t.is(run('overhead', '--threads', '1', '--steps', '50', '--rounds', '1', '--out', out).status, 0);
  const [file, drawing] = [`${out}-overhead.json`, `${out}-overhead.svg`];
  t.is(JSON.parse(readFileSync(file, 'utf8')).benchmark, 'overhead');
  const first = readFileSync(drawing, 'utf8');
  t.notThrows(() => checkWellFormed(first));
  rmSync(drawing);
  t.is(run('plot', file).stdout.trim(), drawing);
  t.is(readFileSync(drawing, 'utf8'), first);

  const other = join(folder, 'other.json');
  writeFileSync(other, '{}');
  for (const [args, message] of [
    [['plot'], /^plot: expected the files/],
    [['plot', other], /is no result that can be drawn$/],
    [['plot', join(folder, 'none.json')], /cannot be read: ENOENT/],
    [['all'], /^all: expected --out/],
  ] as const) {
    const { status, stderr } = run(...args);
    t.is(status, 2);
    t.regex(stderr.trim(), message);
  }
});
