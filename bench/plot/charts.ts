// What of each benchmark's result is drawn.
import type { benchAttention } from '../attention.js';
import type { benchGemm, GemmResult } from '../gemm.js';
import type { benchGenerate } from '../generate.js';
import type { machine } from '../machine.js';
import type { benchMemory } from '../memory.js';
import type { benchOverhead } from '../overhead.js';
import type { benchScaling } from '../scaling.js';
import type { benchStep } from '../step.js';
import { type Chart, drawCharts } from './chart.js';
import { numberText } from './scale.js';

type Result<Bench extends (...args: never[]) => Promise<object>> = Awaited<ReturnType<Bench>>;

const title = (text: string, threads: number) =>
  `${text} (${threads === 1 ? '1 thread' : `${threads} threads`})`;
/** How peers are called. */
const names: Readonly<Record<string, string>> = {
  torch: 'PyTorch',
  'tfjs-wasm': 'TensorFlow.js WASM',
  'tfjs-cpu': 'TensorFlow.js CPU',
  openblas: 'OpenBLAS',
  onednn: 'oneDNN',
};
const distinct = <Value>(values: readonly Value[]): Value[] => [...new Set(values)];

function step({ cases }: Result<typeof benchStep>): Chart[] {
  const present = distinct(
    cases.flatMap(({ peers }) => Object.keys(peers).filter((name) => 'median' in peers[name])),
  );
  const milliseconds = (seconds: number) => 1000 * seconds;
  const peerSeries = present.map((name) => {
    const found = cases.map(({ peers }) => {
      const peer = peers[name];
      return peer && 'median' in peer ? peer : undefined;
    });
    return {
      name: names[name] ?? name,
      values: found.map((peer) => peer && milliseconds(peer.median)),
      labels: found.map(
        (peer) =>
          peer && `${numberText(milliseconds(peer.median))}\n${peer.ratio.toFixed(peer.ratio < 10 ? 2 : 0)}x`,
      ),
    };
  });
  return [
    {
      kind: 'bars',
      title: title('A training step: forward, backward, clipping, AdamW', cases[0]?.threads ?? 1),
      yLabel: 'milliseconds, logarithmic',
      groups: cases.map(({ name, precision }) => `${name} ${precision}`),
      series: [{ name: 'Heddle', values: cases.map(({ ours }) => milliseconds(ours.median)) }, ...peerSeries],
      isLogarithmic: true,
    },
  ];
}

/** The rate of several products together. */
const rateOf = (results: readonly GemmResult[], pick: (result: GemmResult) => number | undefined) => {
  const flops = ({ m, n, k }: GemmResult) => m * n * k;
  if (!results.length || results.some((result) => pick(result) === undefined)) return undefined;
  const time = results.reduce((sum, result) => sum + flops(result) / pick(result)!, 0);
  return results.reduce((sum, result) => sum + flops(result), 0) / time;
};

function gemm({ cases, threads, peak }: Result<typeof benchGemm>): Chart[] {
  return distinct(cases.map(({ precision }) => precision)).map((precision) => {
    const chosen = cases.filter((result) => result.precision === precision);
    const keys = distinct(chosen.map((result) => `${result.case} ${result.pass}`));
    const members = (key: string) => chosen.filter((result) => `${result.case} ${result.pass}` === key);
    const peerNames = distinct(chosen.flatMap(({ peers }) => Object.keys(peers)));
    const level = 'absent' in peak ? undefined : peak[precision];
    return {
      kind: 'bars',
      title: title(`Matrix products of the linear layers, ${precision}`, threads),
      yLabel: 'GFLOP/s',
      groups: keys.map((key) => key.replace('gradient', 'grad.')),
      series: [
        { name: 'Heddle', values: keys.map((key) => rateOf(members(key), ({ ours }) => ours.median)) },
        ...peerNames.map((name) => ({
          name: names[name] ?? name,
          values: keys.map((key) => rateOf(members(key), ({ peers }) => peers[name]?.median)),
        })),
      ],
      levels: level === undefined ? [] : [{ name: 'peak of multiply-adds in registers', value: level }],
    };
  });
}

const overhead = ({ cases }: Result<typeof benchOverhead>): Chart[] => [
  {
    kind: 'bars',
    title: 'A tiny training step, two queued',
    yLabel: 'microseconds a step',
    groups: cases.map(({ name }) => name),
    series: [
      { name: 'host, beside kernels', values: cases.map(({ mean }) => mean) },
      { name: 'kernels', values: cases.map(({ kernels }) => kernels.median) },
    ],
  },
];

function memory({ training }: Result<typeof benchMemory>): Chart[] {
  const mebibytes = (bytes: number) => bytes / 2 ** 20;
  const peerNames = distinct(training.flatMap(({ peers }) => Object.keys(peers)));
  return [
    {
      kind: 'bars',
      title: 'Peak resident memory of a process that trains',
      yLabel: 'MiB',
      groups: training.map(({ name, precision }) => `${name} ${precision}`),
      series: [
        { name: 'Heddle', values: training.map(({ ours }) => mebibytes(ours.peakBytes)) },
        ...peerNames.map((name) => ({
          name: names[name] ?? name,
          values: training.map(({ peers: { [name]: peer } }) =>
            peer && 'peakBytes' in peer ? mebibytes(peer.peakBytes) : undefined,
          ),
        })),
      ],
    },
  ];
}

const generate = ({ cases }: Result<typeof benchGenerate>): Chart[] => [
  {
    kind: 'bars',
    title: title('Greedy generation, one row', cases[0]?.threads ?? 1),
    yLabel: 'tokens/s',
    groups: cases.map(({ name, precision }) => `${name} ${precision}`),
    series: [
      { name: 'Heddle', values: cases.map(({ ours }) => ours.median) },
      {
        name: 'reading the weights alone',
        values: cases.map((each) =>
          'bandwidthTokensPerSecond' in each ? each.bandwidthTokensPerSecond : undefined,
        ),
      },
    ],
  },
];

function attention({ cases, threads }: Result<typeof benchAttention>): Chart[] {
  const passes = ['forward', 'backward'] as const;
  const torch = cases.flatMap(({ length, peers }) =>
    'torch' in peers && peers.torch ? { length, ...peers.torch } : [],
  );
  return [
    {
      kind: 'lines',
      title: title('Causal attention, 8 heads of 64', threads),
      xLabel: 'tokens',
      yLabel: 'milliseconds',
      series: [
        ...passes.map((pass) => ({
          name: `Heddle ${pass}`,
          points: cases.map(({ length, ours }) => [length, 1000 * ours[pass].median] as const),
        })),
        ...passes.map((pass) => ({
          name: `PyTorch ${pass}`,
          points: torch.map((each) => [each.length, 1000 * each[pass].median] as const),
          isDashed: true,
        })),
      ].filter(({ points }) => points.length),
    },
    {
      kind: 'lines',
      title: 'Memory beside the operands, forward and backward',
      xLabel: 'tokens',
      yLabel: 'bytes',
      series: [
        { name: 'Heddle', points: cases.map(({ length, memoryBytes }) => [length, memoryBytes] as const) },
        {
          name: 'all scores, if they were kept',
          points: cases.map(({ length, scoreMatrixBytes }) => [length, scoreMatrixBytes] as const),
          isDashed: true,
        },
      ],
    },
  ];
}

function scaling({ cases }: Result<typeof benchScaling>): Chart[] {
  const keys = distinct(cases.map(({ precision, threads }) => `${precision}, ${threads}`));
  const series = (pick: (each: (typeof cases)[number]) => number) =>
    keys.map((key) => ({
      name: `${key} ${key.endsWith(' 1') ? 'thread' : 'threads'}`,
      points: cases
        .filter(({ precision, threads }) => `${precision}, ${threads}` === key)
        .map((each) => [each.parameters, pick(each)] as const),
    }));
  const axes = { kind: 'lines', xLabel: 'parameters' } as const;
  return [
    {
      ...axes,
      title: 'Training by size of the model',
      yLabel: 'tokens/s',
      series: series((each) => each.tokensPerSecond),
    },
    {
      ...axes,
      title: 'Arithmetic of it',
      yLabel: 'GFLOP/s',
      series: series((each) => each.gigaflopsPerSecond),
    },
  ];
}

const charts = { step, gemm, overhead, memory, generate, attention, scaling };

/** The result of a benchmark as an SVG document; undefined for one that is not drawn. */
export function plotOf(
  benchmark: string,
  result: { machine: ReturnType<typeof machine> },
): string | undefined {
  if (!Object.hasOwn(charts, benchmark)) return undefined;
  const chartsOf = charts[benchmark as keyof typeof charts] as (result: object) => Chart[];
  const { processor, cores, instructionSet, date } = result.machine;
  return drawCharts(
    chartsOf(result),
    `${processor}, ${cores} cores, ${instructionSet}; ${date}; npm run bench -- ${benchmark}`,
  );
}
