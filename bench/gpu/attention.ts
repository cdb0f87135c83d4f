// Attention alone, causal, by length and width of heads: the rate of each direction, and PyTorch's by each of its kernels.
import { compile, type Program } from '#src/compile/index.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import { attention, attentionBackwardOp } from '#src/ops/attention.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { RandomStream } from '#src/random/stream.js';
import { type Device, Session } from '#src/runtime/session.js';
import { dtypeBytes, type Precision, precisions } from '#src/shape/dtype.js';
import { type Shape, sizeOf } from '#src/shape/shape.js';
import { median } from '../machine.js';
import { ask } from './peers.js';
import { type Stage, verdict } from './stage.js';

interface AttentionCase {
  readonly precision: Precision;
  readonly batchSize: number;
  readonly sequenceLength: number;
  readonly heads: number;
  readonly headDim: number;
}
interface Direction {
  readonly milliseconds: number;
  readonly teraflops: number;
}

/** All have as many tokens and the same width of the model, so that only the length changes how much there is to do. */
const [tokens, hiddenSize] = [16384, 2048];

function casesOf(quick: boolean): AttentionCase[] {
  if (quick) {
    const shape = { batchSize: 1, sequenceLength: 64, heads: 2, headDim: 32 };
    return precisions.map((precision) => ({ precision, ...shape }));
  }
  // bf16 first: time may run out.
  return precisions.toReversed().flatMap((precision) =>
    [64, 128, 96, 32].flatMap((headDim) =>
      [512, 1024, 2048, 4096, 16384].map((sequenceLength) => ({
        precision,
        batchSize: tokens / sequenceLength,
        sequenceLength,
        heads: Math.floor(hiddenSize / headDim),
        headDim,
      })),
    ),
  );
}

/** Multiplications and additions of both products, those that the causal mask leaves out not counted; backward has five. */
const flopsOf = ({ batchSize, sequenceLength, heads, headDim }: AttentionCase, products: 2 | 5) =>
  (2 * products * batchSize * heads * sequenceLength ** 2 * headDim) / 2;

/** One call of each direction; the arena holds q, k, v and dy, which `inputs` names, and then the results. */
function programOf({ precision, batchSize, sequenceLength, heads, headDim }: AttentionCase) {
  const shape: Shape = [batchSize, sequenceLength, heads, headDim];
  const dtype = precision === 'bf16' ? 'bf16' : 'f32';
  const bytes = sizeOf(shape) * dtypeBytes(dtype);
  const slots = ['q', 'k', 'v', 'dy', 'y', 'dq', 'dk', 'dv'].map(
    (name, index): Slot => ({ arena: 'kvCache', offset: index * bytes, shape, dtype, name }),
  );
  const graph = new Graph();
  const [q, k, v, dy] = slots.slice(0, 4).map((slot) => graph.readSlot(slot));
  const y = attention(q, k, v, { causal: true });
  const { attributes, outputs } = y.node;
  const gradients = attentionBackwardOp([q, k, v, y, outputs[1], dy], attributes);
  for (const [index, result] of [y, ...gradients].entries()) graph.store(result, slots[4 + index]);
  return { program: compile(graph), inputs: slots.slice(0, 4), bytes };
}

/** Random numbers of either precision, the same again after each million. */
function randomBytes(precision: AttentionCase['precision'], bytes: number): Uint8Array {
  const floats = new Float32Array(1 << 20);
  new RandomStream(1).fillNormal(floats);
  // The upper half of a float32 is a bf16.
  const piece =
    precision === 'bf16' ? new Uint16Array(floats.buffer).filter((_, index) => index % 2) : floats;
  const all = new Uint8Array(bytes);
  const source = new Uint8Array(piece.buffer);
  for (let at = 0; at < bytes; at += source.length) all.set(source.subarray(0, bytes - at), at);
  return all;
}

/** Milliseconds of each op of a program: the middle one of several runs. */
async function timeOps(session: Session, id: number, program: Program, count: number) {
  const [inputs, outputs] = [new Uint8Array(program.inputBytes), new Uint8Array(program.outputBytes)];
  const runs: Float64Array[] = [];
  for (let run = 0; run < count + 2; run++) {
    runs.push(await session.profile(id, inputs, encodeScalars({}), outputs));
  }
  const timed = runs.slice(2);
  const times = new Map<string, number>();
  for (const [index, { op }] of program.costs().entries()) {
    times.set(op, 1000 * median(timed.map((run) => run[index])));
  }
  return times;
}

async function measure(shape: AttentionCase, device: Device, quick: boolean) {
  const { program, inputs, bytes } = programOf(shape);
  const session = Session.open({ device });
  try {
    const [id] = await session.load([program.bytes]);
    const numbers = randomBytes(shape.precision, bytes);
    for (const { offset } of inputs) await session.write('kvCache', offset, numbers);
    const times = await timeOps(session, id, program, quick ? 1 : 10);
    const direction = (op: string, products: 2 | 5): Direction => {
      const milliseconds = times.get(op)!;
      return { milliseconds, teraflops: flopsOf(shape, products) / milliseconds / 1e9 };
    };
    return { forward: direction('attention', 2), backward: direction('attention_backward', 5) };
  } finally {
    await session.close();
  }
}

/** Of PyTorch, in one process for each of its kernels: `absent` or `error` where it has none. */
function measurePeer(shapes: readonly AttentionCase[], attention: string, seconds: number) {
  const answer = ask({ cases: shapes, attention }, seconds, 'cuda_attention.py');
  const results = answer.results as ({ forward?: number; backward?: number; error?: string } | undefined)[];
  return results
    ? results.map((result, index) => {
        const rate = (milliseconds: number | undefined, products: 2 | 5) =>
          milliseconds && {
            milliseconds,
            teraflops: flopsOf(shapes[index], products) / milliseconds / 1e9,
          };
        return result?.error
          ? { error: result.error }
          : { forward: rate(result?.forward, 2), backward: rate(result?.backward, 5) };
      })
    : answer;
}

export const attentionRates: Stage = async ({ device, quick, record, peers, secondsLeft }) => {
  const cases: object[] = [];
  const measured: AttentionCase[] = [];
  const ourSeconds = peers && device !== 'cpu' ? secondsLeft() / 2 : 0;
  let isWhole = true;
  for (const shape of casesOf(quick)) {
    if (secondsLeft() - ourSeconds < 5) {
      cases.push({ ...shape, notRun: 'no time left' });
      continue;
    }
    try {
      const ours = await measure(shape, device, quick);
      const { precision, sequenceLength, headDim } = shape;
      const rates = [ours.forward, ours.backward].map(({ teraflops }) => teraflops.toFixed(2)).join(' and ');
      console.log(`attention, ${precision}, ${sequenceLength} tokens, heads of ${headDim}: ${rates} TFLOP/s`);
      cases.push({ ...shape, ours });
      measured.push(shape);
    } catch (error) {
      isWhole = false;
      cases.push({ ...shape, error: (error as Error).message });
      console.log(`attention: ${(error as Error).message}`);
    }
    record({ cases });
  }
  if (!peers || device === 'cpu') {
    record({ peers: device === 'cpu' ? 'only with CUDA' : 'not asked for' });
    return verdict(isWhole);
  }
  const found: Record<string, object> = {};
  for (const [attention, precision] of [
    ['flash', 'bf16'],
    ['cudnn', 'bf16'],
    ['efficient', 'float32'],
  ] as const) {
    if (secondsLeft() < 15) break;
    const shapes = measured.filter((shape) => shape.precision === precision);
    found[attention] = { shapes, results: measurePeer(shapes, attention, Math.min(60, secondsLeft() - 5)) };
    record({ peers: found });
  }
  return verdict(isWhole);
};
