// Causal attention by length, forward and backward: time beside PyTorch's scaled_dot_product_attention, and memory.
import { compile, type Program } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import { attention, attentionBackwardOp } from '#src/ops/index.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { LoadedProgram } from '#src/runtime/loadedProgram.js';
import { Session } from '#src/runtime/session.js';
import { type BenchOptions, chosenNames, chosenOf } from './commandLine.js';
import { machine, median, spreadOf } from './machine.js';
import { type Absent, python, type Served, serve } from './peers/served.js';

const heads = 8;
const headDim = 64;
const lengths = [256, 512, 1024, 2048, 4096, 8192];
const defaultRounds = 3;

/** Attention and its gradient over arrays [1, length, heads, headDim] that lie in the parameters' arena. */
function program(length: number): Program {
  const graph = new Graph();
  const shape = [1, length, heads, headDim];
  const bytes = 4 * length * heads * headDim;
  const place = (name: string, index: number) =>
    ({ arena: 'parameters', offset: index * bytes, shape, dtype: 'f32', name }) as const;
  const [query, key, value, dy] = ['query', 'key', 'value', 'dy'].map((name, index) =>
    graph.readSlot(place(name, index)),
  );
  const y = attention(query, key, value, { causal: true });
  const [, logSumExp] = y.node.outputs;
  const results = attentionBackwardOp([query, key, value, y, logSumExp, dy], y.node.attributes);
  for (const [index, result] of results.entries()) {
    graph.store(result, { ...place(`gradient ${index}`, index), arena: 'gradients' });
  }
  return compile(graph);
}

interface Times {
  readonly forward: number[];
  readonly backward: number[];
}

async function open(length: number, threads: number) {
  const compiled = program(length);
  const ops = compiled.costs().map(({ op }) => op);
  const session = Session.open({ device: 'cpu', threads });
  const [loaded] = await LoadedProgram.load(session, [compiled]);
  const values = Float32Array.from(
    { length: 4 * length * heads * headDim },
    (_, i) => (((i * 40503) & 0xffff) - 32768) / 32768,
  );
  await session.write('parameters', 0, values);
  const scalars = encodeScalars({});
  const run = async (times: Times) => {
    const seconds = await loaded.profile(scalars);
    const sum = (op: string) =>
      seconds.filter((_, index) => ops[index] === op).reduce((total, each) => total + each, 0);
    times.forward.push(sum('attention'));
    times.backward.push(sum('attention_backward'));
  };
  const { activations, workspace } = compiled.memory;
  return { run, memoryBytes: activations + workspace, flops: compiled.flops, close: () => session.close() };
}

type Torch = Served<{ version: string }>;

async function measure(
  length: number,
  torch: Torch | Absent | undefined,
  { threads, rounds = defaultRounds }: BenchOptions,
) {
  const ours: Times = { forward: [], backward: [] };
  const theirs: Times = { forward: [], backward: [] };
  const { run, memoryBytes, flops, close } = await open(length, threads);
  try {
    await run({ forward: [], backward: [] });
    const count = Math.max(1, Math.min(100, Math.round((threads * 1e10) / flops)));
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < count; i++) await run(ours);
      if (!torch || 'absent' in torch) continue;
      const times = await torch.ask<Times>(`attention ${length} ${count}`);
      theirs.forward.push(...times.forward);
      theirs.backward.push(...times.backward);
    }
  } finally {
    await close();
  }
  const summary = ({ forward, backward }: Times) => ({
    forward: spreadOf(forward),
    backward: spreadOf(backward),
  });
  const ratio = (pass: keyof Times) => median(theirs[pass]) / median(ours[pass]);
  return {
    name: String(length),
    length,
    memoryBytes,
    scoreMatrixBytes: 4 * heads * length * length,
    ours: summary(ours),
    peers: theirs.forward.length
      ? { torch: { ...summary(theirs), ratio: { forward: ratio('forward'), backward: ratio('backward') } } }
      : {},
  };
}

/** Seconds; `memoryBytes` is what our program needs besides its operands, `scoreMatrixBytes` what all scores would take. */
export async function benchAttention(options: BenchOptions) {
  const chosen = chosenOf(
    'cases',
    options.cases,
    lengths.map((length) => ({ name: String(length), length })),
  );
  const names = chosenNames('peers', options.peers, ['torch']);
  const argument = JSON.stringify({ heads, headDim, threads: options.threads });
  const torch = names.length
    ? await serve<{ version: string }>(python, ['bench/peers/torch/attention.py', argument])
    : undefined;
  const cases = [];
  try {
    for (const { length } of chosen) cases.push(await measure(length, torch, options));
  } finally {
    if (torch && 'close' in torch) torch.close();
  }
  const peers = torch ? { torch: 'absent' in torch ? torch : torch.ready } : {};
  return {
    machine: machine(),
    threads: options.threads,
    batchSize: 1,
    heads,
    headDim,
    unit: 'seconds',
    peers,
    cases,
  };
}
