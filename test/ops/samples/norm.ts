import { add, layerNorm, layerNormOp, matmul, rmsNorm, rmsNormOp, scale } from '#src/ops/index.js';
import { normal, type Sample } from '../sample.js';

const shapes = [
  [1, 7],
  [33, 1],
  [5, 3, 64],
  [67, 130],
  [3, 1029],
  [2, 8203], // more than CUDA keeps in registers
];

const plain = shapes.flatMap((shape): Sample[] => {
  const columns = shape.at(-1)!;
  // A row of one element has no variance: with a small epsilon its gradient would be rounding, multiplied.
  const epsilon = columns === 1 ? 1 : 1e-5;
  const inputs = { x: normal(shape, 2, 0.5), weight: normal([columns], 0.5, 1), bias: normal([columns]) };
  return [
    {
      name: `layer_norm: [${shape}]`,
      inputs,
      build: ({ x, weight, bias }) => ({ y: layerNorm(x, weight, bias, { epsilon }) }),
      gradient: 'normalised',
    },
    {
      name: `layer_norm: [${shape}] without a bias`,
      inputs: { x: inputs.x, weight: inputs.weight },
      build: ({ x, weight }) => ({ y: layerNorm(x, weight, undefined, { epsilon: 100 * epsilon }) }),
      gradient: 'normalised',
    },
    {
      name: `rms_norm: [${shape}]`,
      inputs: { x: inputs.x, weight: inputs.weight },
      build: ({ x, weight }) => ({ y: rmsNorm(x, weight, { epsilon: 1e-3 }) }),
      gradient: 'normalised',
    },
  ];
});

const residualOf = (rows: number, columns: number) => ({
  x: normal([rows, columns]),
  branch: normal([rows, columns]),
  weight: normal([columns], 0.5, 1),
  bias: normal([columns]),
});
const [rows, columns] = [21, 40];
const residual = residualOf(rows, columns);

export const normSamples: readonly Sample[] = [
  ...plain,
  {
    name: 'layer_norm: more rows than there are blocks of column sums',
    inputs: { x: normal([8300, 33]), weight: normal([33], 0.5, 1), bias: normal([33]) },
    build: ({ x, weight, bias }) => ({ y: layerNorm(x, weight, bias) }),
    gradient: 'normalised',
  },
  {
    name: 'layer_norm: wide rows of a residual sum that is read again',
    inputs: residualOf(3, 8200),
    build: ({ x, branch, weight, bias }) => {
      const sum = add(x, branch);
      return { y: add(sum, layerNorm(sum, weight, bias)) };
    },
    gradient: 'normalised',
  },
  {
    name: 'layer_norm: of a residual sum that is read again',
    inputs: residual,
    build: ({ x, branch, weight, bias }) => {
      const sum = add(x, branch);
      return { y: add(sum, scale(layerNorm(sum, weight, bias), 0.5)) };
    },
    gradient: 'normalised',
  },
  {
    name: 'rms_norm: of a residual sum that is read again',
    inputs: { x: residual.x, branch: residual.branch, weight: residual.weight },
    build: ({ x, branch, weight }) => {
      const sum = add(x, branch);
      return { y: add(sum, scale(rmsNorm(sum, weight), 0.5)) };
    },
    gradient: 'normalised',
  },
  {
    name: 'layer_norm: a pre-norm block',
    inputs: { ...residual, projection: normal([columns, columns], 0.2) },
    build: ({ x, branch, weight, bias, projection }) => {
      const first = add(x, matmul(layerNorm(x, weight, bias), projection));
      return { y: layerNorm(add(first, branch), weight, bias) };
    },
    gradient: 'normalised',
  },
  {
    name: 'layer_norm: statistics',
    inputs: residual,
    build: ({ x, branch, weight, bias }) => {
      const [y, mean, rstd, sum] = layerNormOp([x, weight, bias, branch], { epsilon: 1e-5 });
      return { y, mean, rstd, sum };
    },
    gradient: 'none',
  },
  {
    name: 'rms_norm: statistics',
    inputs: { x: residual.x, branch: residual.branch, weight: residual.weight },
    build: ({ x, branch, weight }) => {
      const [y, rstd, sum] = rmsNormOp([x, weight, branch], { epsilon: 1e-5 });
      return { y, rstd, sum };
    },
    gradient: 'none',
  },
  {
    name: 'layer_norm: constant rows',
    inputs: { x: normal([4, 16], 0, 3), weight: normal([16]), bias: normal([16]) },
    build: ({ x, weight, bias }) => ({ y: layerNorm(x, weight, bias, { epsilon: 0.5 }) }),
    gradient: 'normalised',
  },
];
