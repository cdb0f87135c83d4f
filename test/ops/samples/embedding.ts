import type { Tensor } from '#src/graph/tensor.js';
import { trace } from '#src/graph/trace.js';
import {
  add,
  arange,
  embedding,
  embeddingBag,
  matmul,
  oneHot,
  positionsFrom,
  reshape,
  rotary,
  sinusoidal,
  split,
  subtract,
  transpose,
} from '#src/ops/index.js';
import { exactly, integers, normal, type Sample } from '../sample.js';

/** Ops without tensor inputs join the graph that is being traced. */
const within = <T>({ graph }: Tensor, build: () => T): T => trace({ graph, training: false }, build);

const lookups: Sample[] = [
  {
    name: 'embedding: one row',
    inputs: { ids: integers([1], 0, 1), table: normal([1, 1]) },
    build: ({ ids, table }) => ({ y: embedding(ids, table) }),
    gradient: 'smooth',
  },
  {
    name: 'embedding: repeated ids and ids that are not there',
    inputs: { ids: integers([3, 17], -1, 7), table: normal([6, 13]) },
    build: ({ ids, table }) => ({ y: embedding(ids, table) }),
    gradient: 'smooth',
  },
  {
    name: 'embedding: wide table, more rows than a task takes',
    inputs: { ids: integers([150], 0, 1500), table: normal([1500, 70]) },
    build: ({ ids, table }) => ({ y: embedding(ids, table) }),
    gradient: 'smooth',
  },
  {
    name: 'embedding: tied to a classifier',
    inputs: { ids: integers([2, 9], 0, 12), table: normal([12, 10]) },
    build: ({ ids, table }) => ({ y: matmul(embedding(ids, table), transpose(table)) }),
    gradient: 'smooth',
  },
];

const bags: Sample[] = [
  {
    name: 'embedding: a weighted bag of rows',
    inputs: { ids: integers([3, 5], 0, 11), weights: normal([3, 5]), table: normal([11, 6]) },
    build: ({ ids, weights, table }) => ({ y: embeddingBag(ids, weights, table) }),
    gradient: 'smooth',
  },
  {
    name: 'embedding: bags of one row and one column',
    inputs: { ids: integers([4, 1], -1, 3), weights: normal([4, 1]), table: normal([3, 1]) },
    build: ({ ids, weights, table }) => ({ y: embeddingBag(ids, weights, table) }),
    gradient: 'smooth',
  },
];

const oneHots: Sample[] = [
  {
    name: 'one_hot: ids that are there and ids that are not',
    inputs: { ids: integers([2, 3, 5], -2, 8) },
    build: ({ ids }) => ({ y: oneHot(ids, 6) }),
    gradient: 'none',
  },
  {
    name: 'one_hot: a single class',
    inputs: { ids: integers([4], 0, 1) },
    build: ({ ids }) => ({ y: oneHot(ids, 1) }),
    gradient: 'none',
  },
  {
    name: 'one_hot: more rows than a task takes',
    inputs: { ids: integers([700], 0, 97) },
    build: ({ ids }) => ({ y: oneHot(ids, 97) }),
    gradient: 'none',
  },
  {
    name: 'one_hot: times a table, less what embedding looks up, is zero',
    inputs: { ids: integers([3, 17], -1, 13), table: normal([13, 7]) },
    build: ({ ids, table }) => ({
      product: matmul(oneHot(ids, 13), table),
      difference: subtract(matmul(oneHot(ids, 13), table), embedding(ids, table)),
    }),
    gradient: 'smooth',
  },
];

const positions: Sample[] = [
  {
    name: 'positions: from the start of each row',
    inputs: { starts: exactly([3], [0, 5, 1000], 'i32') },
    build: ({ starts }) => ({ y: positionsFrom(starts, 7) }),
    gradient: 'none',
  },
  {
    name: 'arange: learned positions',
    inputs: { x: normal([2, 5, 3]), table: normal([9, 3]) },
    build: ({ x, table }) => within(x, () => ({ y: add(x, embedding(arange(5), table)) })),
    gradient: 'smooth',
  },
  ...[1, 6, 33].map(
    (size): Sample => ({
      name: `sinusoidal: size ${size}`,
      inputs: { positions: exactly([2, 3], [0, 1, 2, 17, 500, 4095], 'i32') },
      build: ({ positions }) => ({ y: sinusoidal(positions, size) }),
      gradient: 'none',
    }),
  ),
];

const rotations: Sample[] = [
  ...[2, 6, 64].map(
    (headDim): Sample => ({
      name: `rotary: heads of ${headDim}`,
      inputs: { x: normal([2, 5, 3, headDim]) },
      build: ({ x }) => within(x, () => ({ y: rotary(x, arange(5)) })),
      gradient: 'smooth',
    }),
  ),
  {
    name: 'rotary: positions of each row and a base of its own',
    inputs: { x: normal([2, 4, 2, 8]), positions: exactly([2, 4], [0, 1, 2, 3, 900, 901, 902, 903], 'i32') },
    build: ({ x, positions }) => ({ y: rotary(x, positions, 500_000) }),
    gradient: 'smooth',
  },
  {
    name: 'rotary: queries of one projection',
    inputs: { qkv: normal([2, 6, 3 * 2 * 10]) },
    build: ({ qkv }) =>
      within(qkv, () => {
        const [q, k] = split(qkv, [20, 20, 20]).map((part) => reshape(part, [2, 6, 2, 10]));
        return { q: rotary(q, arange(6)), k: rotary(k, arange(6)) };
      }),
    gradient: 'smooth',
  },
];

export const embeddingSamples: readonly Sample[] = [
  ...lookups,
  ...bags,
  ...oneHots,
  ...positions,
  ...rotations,
];
