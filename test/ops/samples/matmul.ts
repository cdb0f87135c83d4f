import type { Tensor } from '#src/graph/tensor.js';
import {
  type ActivationKind,
  activation,
  activationKinds,
  add,
  matmul,
  permute,
  reshape,
  slice,
  split,
  sum,
  transpose,
} from '#src/ops/index.js';
import { awayFromZero, exactly, normal, type Sample } from '../sample.js';

const plain = (
  [
    ['one by one', [1, 1], [1, 1]],
    ['small', [3, 5], [5, 7]],
    ['odd', [17, 33], [33, 65]],
    ['one row', [1, 67], [67, 130]],
    ['one column', [67, 35], [35, 1]],
    ['inner extent 1', [9, 1], [1, 19]],
    ['long inner extent', [5, 1100], [1100, 7]],
    ['several blocks', [131, 97], [97, 261]],
    ['rows enough to share panels', [341, 70], [70, 131]],
    ['rows read where they lie', [571, 37], [37, 44]],
    ['rows whole pages apart', [563, 1024], [1024, 12]],
    ['rows of leading axes', [2, 3, 8], [8, 5]],
    ['batches', [3, 4, 9, 6], [3, 4, 6, 11]],
    ['one matrix for many', [4, 9], [3, 9, 5]],
  ] as const
).map(
  ([what, a, b]): Sample => ({
    name: `matmul: ${what}`,
    inputs: { a: normal(a), b: normal(b) },
    build: (t) => ({ y: matmul(t.a, t.b) }),
    gradient: 'smooth',
  }),
);

const views: Sample[] = [
  {
    name: 'matmul: a transposed',
    inputs: { a: normal([33, 17]), b: normal([33, 23]) },
    build: ({ a, b }) => ({ y: matmul(transpose(a), b) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: a transposed, in chunks of its depth',
    inputs: { a: normal([530, 41]), b: normal([530, 23]) },
    build: ({ a, b }) => ({ y: matmul(transpose(a), b) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: a transposed, in chunks of pairs and half a pair',
    inputs: { a: normal([1101, 19]), b: normal([1101, 23]) },
    build: ({ a, b }) => ({ y: matmul(transpose(a), b) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: b transposed, panels of pairs and half a pair shared',
    inputs: { a: normal([171, 1101]), b: normal([5, 1101]) },
    build: ({ a, b }) => ({ y: matmul(a, transpose(b)) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: b transposed',
    inputs: { a: normal([18, 40]), b: normal([29, 40]) },
    build: ({ a, b }) => ({ y: matmul(a, transpose(b)) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: both transposed',
    inputs: { a: normal([15, 6]), b: normal([9, 15]) },
    build: ({ a, b }) => ({ y: matmul(transpose(a), transpose(b)) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: the product transposed',
    inputs: { a: normal([6, 15]), b: normal([15, 9]) },
    build: ({ a, b }) => ({ y: transpose(matmul(a, b)) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: parts of a split',
    inputs: { x: normal([12, 30]) },
    build: ({ x }) => {
      const [a, b] = split(x, [10, 20]);
      return { y: matmul(transpose(a), b) };
    },
    gradient: 'smooth',
  },
  {
    name: 'matmul: heads of one projection',
    inputs: { x: normal([2, 6, 3 * 4]) },
    build: ({ x }) => {
      const heads = permute(reshape(x, [2, 6, 3, 4]), [0, 2, 1, 3]);
      return { y: matmul(heads, transpose(heads)) };
    },
    gradient: 'smooth',
  },
  {
    name: 'matmul: slice of columns',
    inputs: { a: normal([7, 20]), b: normal([13, 5]) },
    build: ({ a, b }) => ({ y: matmul(slice(a, 1, 3, 16), b) }),
    gradient: 'smooth',
  },
];

const shapes = { x: normal([5, 6, 21]), weight: normal([21, 27], 0.3), bias: normal([27]) };

const farFromZero = exactly(
  [27],
  Array.from({ length: 27 }, (_, index) => (index % 2 === 0 ? 20 : -20)),
);

/** x weight + bias, as nn.Linear records it. */
const linear = ({ x, weight, bias }: Readonly<Record<string, Tensor>>) => add(matmul(x, weight), bias);

const epilogues: Sample[] = [
  {
    name: 'matmul: with a bias',
    inputs: shapes,
    build: (t) => ({ y: linear(t) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: with a bias, rows read where they lie, in chunks of their depth',
    inputs: { x: normal([565, 530]), weight: normal([530, 12], 0.05), bias: normal([12]) },
    build: (t) => ({ y: activation(linear(t), 'gelu_tanh') }),
    gradient: 'smooth',
  },
  ...(
    [
      ['in pieces', [75, 21], [75, 261]],
      ['one column', [70, 9], [70, 1]],
      ['one row', [1, 8], [1, 33]],
    ] as const
  ).map(
    ([what, x, dy]): Sample => ({
      name: `matmul: sums of its columns, ${what}`,
      inputs: { x: normal(x), dy: normal(dy) },
      build: (t) => ({ dw: matmul(transpose(t.x), t.dy), db: sum(t.dy, [0]) }),
      gradient: 'smooth',
    }),
  ),
  {
    name: 'matmul: sums of the columns of a slice and of a transposed matrix',
    inputs: { x: normal([12, 30]), z: normal([7, 12]) },
    build: ({ x, z }) => {
      const [a, b] = split(x, [10, 20]);
      return {
        dw: matmul(transpose(a), b),
        db: sum(b, [0]),
        y: matmul(transpose(a), transpose(z)),
        dz: sum(transpose(z), [0]),
      };
    },
    gradient: 'smooth',
  },
  {
    name: 'matmul: with a bias and a residual',
    inputs: { ...shapes, residual: normal([5, 6, 27]) },
    build: (t) => ({ y: add(t.residual, linear(t)) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: sum of two products',
    inputs: { x: shapes.x, weight: shapes.weight, z: normal([5, 6, 9]), other: normal([9, 27]) },
    build: (t) => ({ y: add(matmul(t.x, t.weight), matmul(t.z, t.other)) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: few rows, K in parts whose sums are added',
    inputs: { x: normal([3, 1250]), weight: normal([1250, 230]), bias: normal([230]) },
    build: ({ x, weight, bias }) => ({ y: add(matmul(x, weight), bias) }),
    gradient: 'smooth',
  },
  {
    name: 'matmul: activation without a bias',
    inputs: { x: normal([9, 8]), weight: normal([8, 33]) },
    build: ({ x, weight }) => ({ y: activation(matmul(x, weight), 'gelu') }),
    gradient: 'smooth',
  },
  ...activationKinds.slice(1).map(
    (kind: ActivationKind): Sample => ({
      name: `matmul: two layers with ${kind} between them`,
      // ReLU's kink has no derivative: its inputs stay away from it.
      inputs: {
        ...shapes,
        x: awayFromZero([31, 21]),
        bias: kind === 'relu' ? farFromZero : shapes.bias,
        second: normal([27, 10]),
      },
      build: (t) => ({ y: matmul(activation(linear(t), kind), t.second) }),
      gradient: 'smooth',
    }),
  ),
  {
    name: 'matmul: what goes into an activation is read elsewhere too',
    inputs: shapes,
    build: (t) => {
      const z = linear(t);
      return { y: activation(z, 'silu'), z: add(z, z) };
    },
    gradient: 'smooth',
  },
];

export const matmulSamples: readonly Sample[] = [...plain, ...views, ...epilogues];
