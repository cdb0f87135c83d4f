import { mean, multiply, permute, softmax, sum } from '#src/ops/index.js';
import { normal, type Sample } from '../sample.js';

const sums = (
  [
    ['one element', [1], [0]],
    ['all', [5, 7], [0, 1]],
    ['columns', [37, 9], [0]],
    ['rows', [9, 37], [1]],
    ['inner axis', [3, 130, 5], [1]],
    ['outer and inner', [4, 3, 6], [0, 2]],
    ['many rows', [1030, 33], [0]],
    ['one long row', [1, 20_011], [1]],
  ] as const
).map(
  ([what, shape, axes]): Sample => ({
    name: `sum: ${what}`,
    inputs: { x: normal(shape) },
    build: ({ x }) => ({ y: sum(x, axes) }),
    gradient: 'smooth',
  }),
);

const softmaxes = [[1], [5, 1], [4, 17], [2, 3, 64], [3, 1001]].map(
  (shape): Sample => ({
    name: `softmax: [${shape}]`,
    inputs: { x: normal(shape, 2) },
    build: ({ x }) => ({ y: softmax(x) }),
    gradient: 'normalised',
  }),
);

export const reduceSamples: readonly Sample[] = [
  ...sums,
  {
    name: 'sum: of a permuted operand',
    inputs: { x: normal([4, 5, 6]) },
    build: ({ x }) => ({ y: sum(permute(x, [2, 0, 1]), [1], true) }),
    gradient: 'smooth',
  },
  {
    name: 'sum: mean and square',
    inputs: { x: normal([6, 11]) },
    build: ({ x }) => ({ y: mean(multiply(x, x), [1]) }),
    gradient: 'smooth',
  },
  ...softmaxes,
  {
    name: 'softmax: far from zero',
    inputs: { x: normal([3, 9], 1, 500) },
    build: ({ x }) => ({ y: softmax(x) }),
    gradient: 'normalised',
  },
];
