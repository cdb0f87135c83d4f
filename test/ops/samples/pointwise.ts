import {
  activation,
  activationKinds,
  add,
  divide,
  dropout,
  exp,
  gatedActivation,
  log,
  multiply,
  permute,
  reciprocal,
  scale,
  slice,
  split,
  sqrt,
  square,
  subtract,
} from '#src/ops/index.js';
import { awayFromZero, normal, positive, type Sample } from '../sample.js';

const arithmetic = { add, subtract, multiply, divide };

const binary = Object.entries(arithmetic).flatMap(([name, op]): Sample[] =>
  (
    [
      ['one element', [1], [1]],
      ['odd', [3, 5], [3, 5]],
      ['a row', [4, 7], [7]],
      ['a column', [5, 9], [5, 1]],
      ['inner axis', [2, 3, 5], [3, 1]],
      ['both ways', [4, 1, 6], [1, 3, 6]],
    ] as const
  ).map(([what, a, b]) => ({
    name: `${name}: ${what}`,
    inputs: { a: normal(a), b: positive(b) },
    build: (t) => ({ y: op(t.a, t.b) }),
    gradient: 'smooth',
  })),
);

const strided: Sample[] = [
  {
    name: 'add: more elements than one task takes',
    inputs: { a: normal([71, 257]), b: normal([71, 257]) },
    build: ({ a, b }) => ({ y: add(a, b) }),
    gradient: 'smooth',
  },
  {
    name: 'multiply: permuted operand',
    inputs: { a: normal([3, 4, 5]), b: normal([5, 3, 4]) },
    build: ({ a, b }) => ({ y: multiply(permute(a, [2, 0, 1]), b) }),
    gradient: 'smooth',
  },
  {
    name: 'subtract: two parts of a split',
    inputs: { x: normal([6, 10]) },
    build: ({ x }) => {
      const [left, right] = split(x, [5, 5]);
      return { y: subtract(left, right) };
    },
    gradient: 'smooth',
  },
  {
    name: 'divide: slice of an outer axis',
    inputs: { a: normal([7, 9]), b: positive([9, 3]) },
    build: ({ a, b }) => ({ y: divide(slice(a, 0, 2, 5), permute(b, [1, 0])) }),
    gradient: 'smooth',
  },
  {
    name: 'add: an operand used twice',
    inputs: { x: normal([3, 3]) },
    build: ({ x }) => ({ y: add(x, permute(x, [1, 0])), z: multiply(x, x) }),
    gradient: 'smooth',
  },
];

const unaries = Object.entries({ exp, log, sqrt, reciprocal, square }).flatMap(([name, op]): Sample[] =>
  [[1], [3, 13]].map((shape) => ({
    name: `unary: ${name} [${shape}]`,
    inputs: { x: name === 'exp' || name === 'square' ? normal(shape) : positive(shape) },
    build: ({ x }) => ({ y: op(x) }),
    gradient: 'smooth',
  })),
);

const activations = activationKinds.slice(1).flatMap((kind): Sample[] => [
  ...[[1], [5, 37], [2, 4133]].map(
    (shape): Sample => ({
      name: `activation: ${kind} [${shape}]`,
      inputs: { x: awayFromZero(shape) },
      build: ({ x }) => ({ y: activation(x, kind) }),
      gradient: 'smooth',
    }),
  ),
  {
    name: `activation: ${kind}, tails`,
    inputs: { x: normal([64], 30) },
    build: ({ x }) => ({ y: activation(x, kind) }),
    gradient: 'smooth',
  },
  {
    name: `gated_activation: ${kind}, halves of one matrix`,
    inputs: { x: awayFromZero([7, 2 * 11]) },
    build: ({ x }) => {
      const [gate, up] = split(x, [11, 11]);
      return { y: gatedActivation(gate, up, kind) };
    },
    gradient: 'smooth',
  },
]);

const others: Sample[] = [
  {
    name: 'gated_activation: of two matrices',
    inputs: { gate: normal([3, 5, 16]), up: normal([3, 5, 16]) },
    build: ({ gate, up }) => ({ y: gatedActivation(gate, up, 'silu') }),
    gradient: 'smooth',
  },
  {
    name: 'gated_activation: only the gate needs a gradient',
    inputs: { gate: normal([3, 5]) },
    build: ({ gate }) => ({ y: gatedActivation(gate, scale(gate, 0, 2), 'gelu') }),
    gradient: 'smooth',
  },
  {
    name: 'scale: factor and shift',
    inputs: { x: normal([5, 7]) },
    build: ({ x }) => ({ y: scale(x, -1.7, 0.3) }),
    gradient: 'smooth',
  },
];

const dropouts = (
  [
    ['half', [5, 13], 0.5, 3, {}],
    ['one column', [9, 1], 0.25, 0, { seed: 7, step: 3 }],
    ['of a row offset', [4, 6, 33], 0.1, 5, { seed: 2 ** 40 + 5, step: 11, microStep: 2, rowOffset: 64 }],
    ['long rows', [2, 9001], 0.9, 300, { seed: 1, step: 100_000 }],
  ] as const
).map(
  ([what, shape, probability, site, scalars]): Sample => ({
    name: `dropout: ${what}`,
    inputs: { x: normal(shape) },
    build: ({ x }) => ({ y: dropout(x, probability, site) }),
    scalars,
    gradient: 'smooth',
  }),
);

export const pointwiseSamples: readonly Sample[] = [
  ...binary,
  ...strided,
  ...unaries,
  ...activations,
  ...others,
  ...dropouts,
];
