import { adamwOp, type ClipMode, clipModes, gradientNormOp, sgdOp } from '#src/ops/index.js';
import { bf16, exactly, normal, positive, type Sample } from '../sample.js';

const elements = 5 * 1024;
const blocks = exactly([5, 2], [1, 1, 0, 1, 1, 0.5, 0, 0, 1, 1]);
const counters = exactly([4], [3, 1, 1, 0], 'i32');

const norms = clipModes.flatMap((clip): Sample[] =>
  [1, 100].map((maximum) => ({
    name: `gradient_norm: clip ${clip} at ${maximum}`,
    inputs: { gradients: normal([20_011]), tokenCount: exactly([1], [37]) },
    build: ({ gradients, tokenCount }) => {
      const [norm, factor, finite] = gradientNormOp([gradients, tokenCount], { clip, maximum });
      return { norm, factor, finite };
    },
    gradient: 'none',
  })),
);

const nonFinite: Sample[] = (
  [
    ['a NaN', [1, Number.NaN, 2], 5],
    ['an infinity', [1, Number.POSITIVE_INFINITY, 2], 5],
    ['no token', [1, 2, 3], 0],
  ] as const
).map(([what, values, tokens]) => ({
  name: `gradient_norm: ${what} leaves everything as it is`,
  inputs: {
    gradients: exactly([3], values),
    tokenCount: exactly([1], [tokens]),
    blocks: exactly([1, 2], [1, 1]),
  },
  slots: {
    parameters: normal([3]),
    first: normal([3]),
    second: positive([3]),
    counters,
  },
  build: (t) => {
    const bounds = { clip: 'norm', maximum: 1 };
    const [, factor, finite] = gradientNormOp([t.gradients, t.tokenCount], bounds);
    const operands = [t.parameters, t.gradients, t.first, t.second, t.blocks, t.counters, factor, finite];
    adamwOp(operands, {
      beta1: 0.9,
      beta2: 0.99,
      epsilon: 1e-8,
      weight_decay: 0.1,
      decoupled: true,
      ...bounds,
    });
    return { finite };
  },
  scalars: { learningRate: 0.1 },
  gradient: 'none',
}));

const state = {
  parameters: normal([elements]),
  first: normal([elements], 0.1),
  second: positive([elements]),
  counters,
};

/** What products read of the parameters in bf16. */
const mirror = { mirror: bf16([elements]) };

const adamw = (what: string, clip: ClipMode, weight_decay: number, decoupled = true, more = {}): Sample => ({
  name: `adamw: ${what}`,
  inputs: {
    gradients: normal([elements]),
    blocks,
    factor: exactly([1], [0.25]),
    finite: exactly([1], [1], 'i32'),
  },
  slots: { ...state, ...more },
  build: (t) => {
    const moments = [t.first, t.second];
    const operands = [
      t.parameters,
      t.gradients,
      ...moments,
      t.blocks,
      t.counters,
      t.factor,
      t.finite,
      t.mirror,
    ];
    const betas = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
    adamwOp(operands, { ...betas, weight_decay, decoupled, clip, maximum: 0.2 });
    return {};
  },
  scalars: { learningRate: 0.01 },
  gradient: 'none',
});

const sgd = (what: string, momentum: number, nesterov: boolean, clip: ClipMode, more = {}): Sample => ({
  name: `sgd: ${what}`,
  inputs: {
    gradients: normal([elements]),
    blocks,
    factor: exactly([1], [0.5]),
    finite: exactly([1], [1], 'i32'),
  },
  slots: { parameters: state.parameters, momentum: normal([elements]), counters, ...more },
  build: (t) => {
    const operands = [
      t.parameters,
      t.gradients,
      t.momentum,
      t.blocks,
      t.counters,
      t.factor,
      t.finite,
      t.mirror,
    ];
    sgdOp(operands, { momentum, weight_decay: 0.1, nesterov, clip, maximum: 0.3 });
    return {};
  },
  scalars: { learningRate: 0.1 },
  gradient: 'none',
});

export const optimizerSamples: readonly Sample[] = [
  ...norms,
  ...nonFinite,
  adamw('decayed', 'none', 0.1),
  adamw('clipped by value', 'value', 0),
  adamw('with the decay in the gradient, as Adam', 'value', 0.1, false),
  adamw('with a bf16 mirror', 'none', 0.1, true, mirror),
  sgd('plain', 0, false, 'none'),
  sgd('momentum', 0.9, false, 'value'),
  sgd('Nesterov momentum', 0.9, true, 'none'),
  sgd('with a bf16 mirror', 0.9, false, 'none', mirror),
];
