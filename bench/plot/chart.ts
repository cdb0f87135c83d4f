// Bars and lines as SVG, in the little that benchmarks need of them.
import { linearTicks, logTicks, numberText, type Scale, scaleOf } from './scale.js';

export interface Bars {
  readonly kind: 'bars';
  readonly title: string;
  readonly yLabel: string;
  readonly groups: readonly string[];
  /** Values by group; undefined where a series has none. `labels`, of one line or more, stand above the bars in place of the values. */
  readonly series: readonly {
    readonly name: string;
    readonly values: readonly (number | undefined)[];
    readonly labels?: readonly (string | undefined)[];
  }[];
  readonly isLogarithmic?: boolean;
  /** Horizontal lines. */
  readonly levels?: readonly { readonly name: string; readonly value: number }[];
}

export interface Lines {
  readonly kind: 'lines';
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Points by rising x; both axes are logarithmic, and the horizontal one is marked where points are. */
  readonly series: readonly {
    readonly name: string;
    readonly points: readonly (readonly [x: number, y: number])[];
    readonly isDashed?: boolean;
  }[];
}

export type Chart = Bars | Lines;

const width = 860;
const height = 360;
const inside = { left: 76, right: width - 24, top: 66, bottom: height - 52 };
// Okabe and Ito's palette: told apart by colour-blind readers, on light and on dark.
const colours = ['#0072B2', '#E69F00', '#009E73', '#CC79A7', '#D55E00', '#56B4E9'];
// It brings its own background, so that it can be read on any page.
const style = `
  .page { fill: #ffffff } text, .axis { fill: #24292f } .grid { stroke: #d0d7de } .level { stroke: #cf222e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text, .axis { fill: #e6edf3 } .grid { stroke: #30363d } .level { stroke: #ff7b72 }
  }
  text { font: 12px system-ui, sans-serif } .title { font-size: 15px; font-weight: 600 } .small { font-size: 10px }
  .level { stroke-dasharray: 6 4; stroke-width: 1.5 } .line { fill: none; stroke-width: 2 }`;

const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);
const fixed = (value: number) => String(Math.round(value * 10) / 10);

type Anchor = 'start' | 'middle' | 'end';
const write = (x: number, y: number, text: string, anchor: Anchor = 'start', kind = '', turn = '') =>
  `<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}"${kind && ` class="${kind}"`}${turn}>${escaped(text)}</text>`;
const line = (x1: number, y1: number, x2: number, y2: number, kind: string) =>
  `<line x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}" class="${kind}"/>`;

function frame({ title, yLabel, series }: Chart, y: Scale, ticks: readonly number[]): string[] {
  const middle = (inside.top + inside.bottom) / 2;
  let at = inside.left;
  const legend = series.flatMap(({ name }, index) => {
    const begin = at;
    at += 26 + 7 * name.length;
    return [
      `<rect x="${begin}" y="38" width="11" height="11" rx="2" fill="${colours[index % colours.length]}"/>`,
      write(begin + 16, 48, name),
    ];
  });
  return [
    write(inside.left, 24, title, 'start', 'title'),
    ...legend,
    ...ticks.flatMap((tick) => [
      line(inside.left, y(tick), inside.right, y(tick), 'grid'),
      write(inside.left - 8, y(tick) + 4, numberText(tick), 'end'),
    ]),
    write(18, middle, yLabel, 'middle', '', ` transform="rotate(-90 18 ${middle})"`),
  ];
}

function drawBars(chart: Bars): string[] {
  const { groups, series, isLogarithmic, levels = [] } = chart;
  const values = [...series.flatMap((each) => each.values), ...levels.map(({ value }) => value)].filter(
    (value) => value !== undefined,
  );
  const ticks = isLogarithmic ? logTicks([...values, 2 * Math.max(...values)]) : linearTicks(values); // room for labels
  const y = scaleOf([ticks[0], ticks.at(-1)!], [inside.bottom, inside.top], isLogarithmic);
  const groupWidth = (inside.right - inside.left) / groups.length;
  const barWidth = Math.min(60, (groupWidth * 0.86) / series.length);
  const parts = frame(chart, y, ticks);
  groups.forEach((group, place) => {
    const centre = inside.left + (place + 0.5) * groupWidth;
    parts.push(write(centre, inside.bottom + 20, group, 'middle'));
    series.forEach(({ name, values, labels }, index) => {
      const value = values[place];
      if (value === undefined) return;
      const left = centre + (index - series.length / 2) * barWidth;
      const top = y(Math.max(value, ticks[0]));
      const size = `width="${fixed(barWidth - 2)}" height="${fixed(inside.bottom - top)}"`;
      const text = labels?.[place] ?? numberText(value);
      parts.push(
        `<rect x="${fixed(left + 1)}" y="${fixed(top)}" ${size} fill="${colours[index % colours.length]}"><title>${escaped(`${name}, ${group}: ${text.replace('\n', ', ')}`)}</title></rect>`,
        ...text
          .split('\n')
          .reverse()
          .map((part, above) => write(left + barWidth / 2, top - 4 - 11 * above, part, 'middle', 'small')),
      );
    });
  });
  for (const { name, value } of levels) {
    parts.push(line(inside.left, y(value), inside.right, y(value), 'level'));
    parts.push(write(inside.right, y(value) - 5, `${name} ${numberText(value)}`, 'end', 'small'));
  }
  return parts;
}

function drawLines(chart: Lines): string[] {
  const points = chart.series.flatMap((each) => each.points);
  const yTicks = logTicks(points.map(([, y]) => y));
  const xTicks = [...new Set(points.map(([x]) => x))];
  const range = [Math.min(...xTicks) / 1.1, Math.max(...xTicks) * 1.1] as const;
  const x = scaleOf(range, [inside.left, inside.right], true);
  const y = scaleOf([yTicks[0], yTicks.at(-1)!], [inside.bottom, inside.top], true);
  const parts = frame(chart, y, yTicks);
  for (const tick of xTicks) {
    parts.push(line(x(tick), inside.top, x(tick), inside.bottom, 'grid'));
    parts.push(write(x(tick), inside.bottom + 18, numberText(tick), 'middle'));
  }
  parts.push(write((inside.left + inside.right) / 2, height - 12, chart.xLabel, 'middle'));
  chart.series.forEach(({ name, points, isDashed }, index) => {
    const colour = colours[index % colours.length];
    const path = points.map(([px, py]) => `${fixed(x(px))},${fixed(y(py))}`).join(' ');
    const dashes = isDashed ? ' stroke-dasharray="5 4"' : '';
    parts.push(
      `<polyline points="${path}" class="line" stroke="${colour}"${dashes}><title>${escaped(name)}</title></polyline>`,
    );
    for (const [px, py] of points) {
      parts.push(
        `<circle cx="${fixed(x(px))}" cy="${fixed(y(py))}" r="3.5" fill="${colour}"><title>${escaped(`${name}: ${numberText(py)} at ${numberText(px)}`)}</title></circle>`,
      );
    }
  });
  return parts;
}

/** Charts below each other, with a line at the foot, as one SVG document. */
export function drawCharts(charts: readonly Chart[], foot: string): string {
  const total = charts.length * height + 28;
  const drawn = charts.map((chart, index) => {
    const parts = chart.kind === 'bars' ? drawBars(chart) : drawLines(chart);
    return `<g transform="translate(0 ${index * height})">\n${parts.join('\n')}\n</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img">`,
    `<title>${escaped(charts.map(({ title }) => title).join('; '))}</title>`,
    `<style>${style}</style>`,
    `<rect width="${width}" height="${total}" rx="6" class="page"/>`,
    ...drawn,
    write(inside.left, total - 12, foot, 'start', 'small'),
    '</svg>\n',
  ].join('\n');
}
