import test from 'ava';
import { formatBytes, formatDuration, formatTable } from '#src/cli/table.js';

test('aligns text to the left and numbers to the right', (t) => {
  const table = formatTable(
    ['layer', 'parameters', 'note'],
    [
      ['embedding', 12_345_678, 'tied'],
      ['norm', 256, undefined],
      ['loss', 1.5],
    ],
  );
  t.is(
    table,
    `layer      parameters  note
---------  ----------  ----
embedding  12,345,678  tied
norm              256
loss           1.5000`,
  );
  t.is(formatTable(['a'], []), 'a\n-');
});

test('writes bytes and durations in fitting units', (t) => {
  t.deepEqual([0, 1, 1023, 1024, 400 * 2 ** 20, 2 ** 40].map(formatBytes), [
    ...['0 B', '1 B', '1023 B', '1.0 KiB', '400.0 MiB', '1.0 TiB'],
  ]);
  t.deepEqual([0, 7.4, 59.6, 750, 3600, 11100].map(formatDuration), [
    '0:00',
    '0:07',
    '1:00',
    '12:30',
    '1:00:00',
    '3:05:00',
  ]);
});
