import { crossEntropy, matmul, multiply, reshape, softmaxCrossEntropyOp } from '#src/ops/index.js';
import { integers, normal, positive, type Sample } from '../sample.js';

const plain = (
  [
    [[1, 1], 0],
    [[3, 7], 0],
    [[5, 33], 0.1],
    [[2, 9, 61], 0.1],
    [[4, 5003], 0.3],
  ] as const
).map(
  ([shape, smoothing]): Sample => ({
    name: `softmax_cross_entropy: [${shape}] with smoothing ${smoothing}`,
    inputs: {
      logits: normal(shape, 2),
      targets: integers(shape.slice(0, -1), shape.length > 2 ? -1 : 0, shape.at(-1)!),
    },
    build: ({ logits, targets }) => ({ ...crossEntropy(logits, targets, smoothing) }),
    gradient: 'normalised',
  }),
);

export const lossSamples: readonly Sample[] = [
  ...plain,
  {
    name: 'softmax_cross_entropy: a classifier on hidden states',
    inputs: {
      hidden: normal([13, 8]),
      weight: normal([8, 29]),
      targets: integers([13], -1, 29),
    },
    build: ({ hidden, weight, targets }) => ({ ...crossEntropy(matmul(hidden, weight), targets, 0.1) }),
    gradient: 'normalised',
  },
  {
    name: 'softmax_cross_entropy: rows of unequal weight',
    inputs: { logits: normal([6, 11]), targets: integers([6], -1, 11), weights: positive([6]) },
    build: ({ logits, targets, weights }) => {
      const [loss] = softmaxCrossEntropyOp([logits, targets], { label_smoothing: 0.2 });
      return { loss: multiply(loss, weights) };
    },
    gradient: 'normalised',
  },
  {
    name: 'softmax_cross_entropy: all that the kernel writes',
    inputs: { logits: normal([3, 4, 9], 1, 100), targets: integers([3, 4], -1, 9) },
    build: ({ logits, targets }) => {
      const rows = [reshape(logits, [12, 9]), reshape(targets, [12])];
      const [loss, logSumExp, dlogits] = softmaxCrossEntropyOp(rows, { label_smoothing: 0.1 });
      return { loss, logSumExp, dlogits };
    },
    gradient: 'none',
  },
];
