// Matrix products at the shapes of the step benchmark by our kernel, beside OpenBLAS, oneDNN and the processor's peak.
import { compile } from '#src/compile/index.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import { matmulOp, transpose } from '#src/ops/index.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { LoadedProgram } from '#src/runtime/loadedProgram.js';
import { Session } from '#src/runtime/session.js';
import { dtypeBytes, type Precision } from '#src/shape/dtype.js';
import { type BenchOptions, chosenNames, chosenOf } from './commandLine.js';
import { machine, median, type Spread, spreadOf } from './machine.js';
import { measuredPeak } from './peers/compiled.js';
import { type GemmPeer, gemmPeers, type Product } from './peers/gemm.js';
import { type Absent, untilThreadsSleep } from './peers/served.js';
import { type TrainingCase, trainingCases } from './trainingCase.js';

const passes = ['forward', 'input gradient', 'weight gradient'] as const;

export interface NamedProduct extends Product {
  readonly name: string;
  readonly case: string;
  readonly layer: string;
  readonly pass: (typeof passes)[number];
}

/** Products of a training step: three for each linear layer. */
export function productsOf({ name, hiddenSize, sequenceLength, batchSize }: TrainingCase): NamedProduct[] {
  const tokens = sequenceLength * batchSize;
  const layers = { qkv: [1, 3], output: [1, 1], up: [1, 4], down: [4, 1] };
  return Object.entries(layers).flatMap(([layer, [from, to]]) => {
    const [inputs, outputs] = [from * hiddenSize, to * hiddenSize];
    const shapes = {
      forward: { m: tokens, k: inputs, n: outputs, transposeA: false, transposeB: false, weight: true },
      'input gradient': {
        m: tokens,
        k: outputs,
        n: inputs,
        transposeA: false,
        transposeB: true,
        weight: true,
      },
      'weight gradient': {
        m: inputs,
        k: tokens,
        n: outputs,
        transposeA: true,
        transposeB: false,
        weight: false,
      },
    };
    return passes.map((pass) => ({
      name: `${name} ${layer} ${pass}`,
      case: name,
      layer,
      pass,
      ...shapes[pass],
      wideResult: pass === 'weight gradient', // gradients of parameters are float32
    }));
  });
}

/** How often a program multiplies: small products follow each other in a step too, where no thread falls asleep between them. */
const timesInProgram = (flops: number): number => (flops < 4e8 ? 8 : 1);
const flopsOf = ({ m, n, k }: Product): number => 2 * m * n * k;

/** Our kernel, by a program of nothing else. */
async function ourProducts(session: Session, product: Product, precision: Precision): Promise<LoadedProgram> {
  const { m, n, k, transposeA, transposeB, wideResult } = product;
  const dtype = precision === 'bf16' ? 'bf16' : 'f32';
  const result = wideResult ? 'f32' : dtype;
  const arena = precision === 'bf16' ? 'parametersBf16' : 'parameters';
  const times = timesInProgram(flopsOf(product));
  const line = 64; // bytes; a begins one later each time, or the compiler would multiply once
  const second = Math.ceil((dtypeBytes(dtype) * m * k + times * line) / 4096) * 4096; // where b begins
  const graph = new Graph();
  const operand = (name: string, offset: number, shape: number[]) =>
    graph.readSlot({ arena, offset, shape, dtype, name });
  const b = operand('b', second, transposeB ? [n, k] : [k, n]);
  for (let i = 0; i < times; i++) {
    const a = operand('a', i * line, transposeA ? [k, m] : [m, k]);
    const operands = [transposeA ? transpose(a) : a, transposeB ? transpose(b) : b];
    const [y] = matmulOp(operands, { epilogue: 'none', kind: 'none', result });
    graph.store(y, { arena: 'gradients', offset: 0, shape: [m, n], dtype: result, name: 'y' } satisfies Slot);
  }
  const program = compile(graph);
  const [loaded] = await LoadedProgram.load(session, [program]);
  // Subnormal numbers, or zeros, would not cost what weights do.
  const length = second / dtypeBytes(dtype) + k * n;
  const values =
    dtype === 'bf16'
      ? Uint16Array.from({ length }, (_, i) => 0x3f00 | ((i * 40503) & 0x80ff))
      : Float32Array.from({ length }, (_, i) => (((i * 40503) & 0xffff) - 32768) / 32768);
  await session.write(arena, 0, values);
  return loaded;
}

export interface GemmResult extends NamedProduct {
  readonly precision: Precision;
  /** GFLOP/s. */
  readonly ours: Spread;
  readonly peers: Readonly<Record<string, Spread>>;
  /** Ours to the fastest peer's: above 1 ours is faster. */
  readonly ratio?: number;
}

const scalars = encodeScalars({});
const defaultRounds = 5;

async function measure(
  product: NamedProduct,
  precision: Precision,
  peers: ReadonlyMap<string, GemmPeer>,
  { threads, rounds = defaultRounds }: BenchOptions,
): Promise<GemmResult> {
  const flops = flopsOf(product);
  const count = Math.max(2, Math.min(100, Math.ceil((threads * 2e9) / flops)));
  const runs = Math.ceil(count / timesInProgram(flops));
  const session = Session.open({ device: 'cpu', threads });
  const seconds = new Map<string, number[]>(['ours', ...peers.keys()].map((name) => [name, []]));
  try {
    const program = await ourProducts(session, product, precision);
    const ours = () => program.profile(scalars);
    for (let round = 0; round < rounds; round++) {
      await untilThreadsSleep();
      await ours(); // as the peers, once without the clock
      // One is queued while another runs, so that they follow each other as in a step: our threads sleep where nothing comes.
      for (let i = 0, next = ours(); i < runs; i++) {
        const running = next;
        if (i + 1 < runs) next = ours();
        seconds.get('ours')!.push(...(await running));
      }
      for (const [name, peer] of peers)
        seconds.get(name)!.push(...(await peer.time(product, precision, count)));
    }
  } finally {
    await session.close();
  }
  const rates = [...seconds].map(
    ([name, each]) => [name, spreadOf(each.map((s) => flops / s / 1e9))] as const,
  );
  const [[, ours], ...others] = rates;
  return {
    ...product,
    precision,
    ours,
    peers: Object.fromEntries(others),
    ...(others.length && { ratio: ours.median / Math.max(...others.map(([, { median }]) => median)) }),
  };
}

/** All products of a step together: rates weighted as a step weights them. */
function summary(results: readonly GemmResult[]) {
  const rate = (pick: (result: GemmResult) => number) =>
    results.reduce((sum, result) => sum + flopsOf(result), 0) /
    results.reduce((sum, result) => sum + flopsOf(result) / pick(result), 0);
  const ours = rate((result) => result.ours.median);
  const ratios = results.flatMap(({ ratio }) => ratio ?? []);
  if (!ratios.length) return { ours };
  const best = rate(({ ours, ratio }) => ours.median / ratio!);
  return {
    ours,
    bestPeer: best,
    ratio: ours / best,
    medianRatio: median(ratios),
    leastRatio: Math.min(...ratios),
  };
}

export async function benchGemm(options: BenchOptions) {
  const shapes = chosenOf('cases', options.cases, trainingCases, ['d128', 'd384', 'd512']);
  const names = chosenNames('peers', options.peers, Object.keys(gemmPeers));
  const precisions = chosenNames<Precision>('precisions', options.precisions, ['float32', 'bf16']);
  const started = new Map<string, GemmPeer | Absent>();
  for (const name of names) started.set(name, await gemmPeers[name](options.threads));
  const running = [...started].filter((entry): entry is [string, GemmPeer] => 'time' in entry[1]);
  const results: GemmResult[] = [];
  try {
    const peak = await measuredPeak(options.threads);
    for (const precision of precisions) {
      const peers = new Map(running.filter(([, peer]) => peer.precisions.includes(precision)));
      for (const product of shapes.flatMap(productsOf)) {
        results.push(await measure(product, precision, peers, options));
      }
    }
    const of = (precision: Precision) => results.filter((result) => result.precision === precision);
    return {
      machine: machine(),
      threads: options.threads,
      unit: 'GFLOP/s',
      peak,
      peers: Object.fromEntries(
        [...started].map(([name, peer]) => [name, 'time' in peer ? { version: peer.version } : peer]),
      ),
      summary: Object.fromEntries(precisions.map((precision) => [precision, summary(of(precision))])),
      cases: results,
    };
  } finally {
    for (const [, peer] of running) peer.close();
  }
}
