// The libraries that our matrix product is held against: small C++ programs, compiled when they are asked for.
import type { Precision } from '#src/shape/dtype.js';
import { median } from '../machine.js';
import { compiled } from './compiled.js';
import { type Absent, type Served, serve } from './served.js';

/** y [m, n] = a b, where a lies as [k, m] and b as [n, k] if they are transposed. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Whether b is a weight, which a library may lay out beforehand. */
  readonly weight: boolean;
  /** Whether y is float32 whatever a and b are. */
  readonly wideResult: boolean;
}

export interface GemmPeer {
  readonly version: string;
  readonly precisions: readonly Precision[];
  /** Seconds of each of `count` products. */
  time(product: Product, precision: Precision, count: number): Promise<number[]>;
  close(): void;
}

type Running = Served<{ version: string }>;

const gemmPeer = ({ ready, ask, close }: Running, precisions: readonly Precision[]): GemmPeer => ({
  version: ready.version,
  precisions,
  async time({ m, n, k, transposeA, transposeB, weight, wideResult }, precision, count) {
    const words = [m, n, k, +transposeA, +transposeB, precision, +weight, +wideResult, count];
    return (await ask<{ seconds: number[] }>(words.join(' '))).seconds;
  },
  close,
});

/** A product of the middle case, by which OpenBLAS's kernels are chosen. */
const probe: Product = {
  m: 2048,
  n: 1536,
  k: 384,
  transposeA: false,
  transposeB: false,
  weight: true,
  wideResult: false,
};

/** OpenBLAS with the kernels, of all it has for x86-64, that are fastest here: which it takes by itself varies. */
async function openblas(threads: number): Promise<GemmPeer | Absent> {
  const binary = await compiled('openblas', ['-lopenblas'], 'libopenblas-dev');
  if (typeof binary !== 'string') return binary;
  let best: { peer: GemmPeer; seconds: number } | undefined;
  for (const core of ['Haswell', 'Zen', 'SkylakeX', 'Cooperlake', 'Sapphirerapids']) {
    const count = String(threads);
    const environment = { OPENBLAS_CORETYPE: core, OPENBLAS_NUM_THREADS: count, OMP_NUM_THREADS: count };
    const served = await serve<{ version: string }>(binary, [], environment);
    if ('absent' in served) continue; // this processor cannot run these kernels
    const peer = gemmPeer(served, ['float32']);
    const seconds = await peer.time(probe, 'float32', 9).then(median, () => Number.POSITIVE_INFINITY);
    if (best && best.seconds <= seconds) peer.close();
    else {
      best?.peer.close();
      best = { peer, seconds };
    }
  }
  return best?.peer ?? { absent: 'none of its kernels run on this processor' };
}

async function onednn(threads: number): Promise<GemmPeer | Absent> {
  const binary = await compiled('onednn', ['-ldnnl'], 'libdnnl-dev');
  if (typeof binary !== 'string') return binary;
  const served = await serve<{ version: string }>(binary, [], { OMP_NUM_THREADS: String(threads) });
  return 'absent' in served ? served : gemmPeer(served, ['float32', 'bf16']);
}

export const gemmPeers: Readonly<Record<string, (threads: number) => Promise<GemmPeer | Absent>>> = {
  openblas,
  onednn,
};
