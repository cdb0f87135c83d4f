/** A cell; numbers are aligned to the right. */
export type Cell = string | number | undefined;

/**
 * Rows of aligned columns under a heading, without a line break at the end. Numbers are written as `format` says, by
 * default with thousands separated.
 */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly Cell[])[],
  format: (value: number, column: number) => string = formatNumber,
): string {
  const texts = rows.map((row) =>
    heading.map((_, column) => {
      const cell = row[column];
      return typeof cell === 'number' ? format(cell, column) : (cell ?? '');
    }),
  );
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...texts.map((row) => row[column].length)),
  );
  const right = heading.map((_, column) => rows.some((row) => typeof row[column] === 'number'));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width));
  return [line(heading), line(rule), ...texts.map(line)].join('\n');
}

/** Whole numbers with thousands separated, others with four decimals. */
export const formatNumber = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : value.toFixed(4);

/** Bytes in the largest binary unit that leaves at least 1. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return power === 0 ? `${bytes} B` : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** Seconds as 0:07, 12:30 or 3:05:00. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (part: number) => String(part).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
