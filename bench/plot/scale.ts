/** Where a value lies on the paper. */
export type Scale = (value: number) => number;

/** Maps a range of values, linearly or by logarithms, to a range on the paper. */
export function scaleOf(
  [from, to]: readonly [number, number],
  [begin, end]: readonly [number, number],
  isLogarithmic = false,
): Scale {
  const measure = isLogarithmic ? Math.log : (value: number) => value;
  const [low, high] = [measure(from), measure(to)];
  return (value) => begin + ((measure(value) - low) / (high - low)) * (end - begin);
}

/** Round numbers from 0 to above the largest value, about six of them. */
export function linearTicks(values: readonly number[]): number[] {
  const largest = Math.max(...values, Number.MIN_VALUE) * 1.05;
  const rough = largest / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!;
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, index) =>
    Number((index * step).toPrecision(6)),
  );
}

/** Round numbers round all values, each the next of 1, 2, 5, 10, or powers of ten where these would be many. */
export function logTicks(values: readonly number[]): number[] {
  const [least, largest] = [Math.min(...values), Math.max(...values) * 1.05];
  const powers = Math.log10(largest / least);
  const factors = powers > 4 ? [1] : [1, 2, 5];
  const ticks: number[] = [];
  const first = Math.floor(Math.log10(least));
  for (let power = first; power <= Math.ceil(Math.log10(largest)) + 1; power++) {
    for (const factor of factors) ticks.push(Number(`${factor}e${power}`));
  }
  const low = ticks.findLastIndex((tick) => tick <= least);
  const high = ticks.findIndex((tick) => tick >= largest);
  return ticks.slice(Math.max(0, low), high + 1);
}

/** Three digits, or four below 10,000; with k, M and G for what is larger. */
export function numberText(value: number): string {
  const [size, unit] =
    value >= 1e9 ? [1e9, 'G'] : value >= 1e6 ? [1e6, 'M'] : value >= 1e4 ? [1e3, 'k'] : [1, ''];
  const scaled = value / size;
  return `${Number(scaled >= 100 ? scaled.toFixed(0) : scaled.toPrecision(3))}${unit}`;
}
