import {
  cast,
  concat,
  expand,
  full,
  multiply,
  permute,
  reshape,
  scale,
  slice,
  split,
} from '#src/ops/index.js';
import { exactly, integers, normal, type Sample } from '../sample.js';

export const viewSamples: readonly Sample[] = [
  {
    name: 'copy: permuted',
    inputs: { x: normal([5, 7, 3]) },
    build: ({ x }) => ({ y: permute(x, [2, 0, 1]) }),
    gradient: 'smooth',
  },
  {
    name: 'copy: a large transpose',
    inputs: { x: normal([67, 130]) },
    build: ({ x }) => ({ y: permute(x, [1, 0]) }),
    gradient: 'smooth',
  },
  {
    name: 'copy: expanded',
    inputs: { x: normal([4, 1, 3]) },
    build: ({ x }) => ({ y: expand(x, [2, 4, 5, 3]) }),
    gradient: 'smooth',
  },
  {
    name: 'copy: parts of a split',
    inputs: { x: normal([6, 9]) },
    build: ({ x }) => {
      const [a, b, c] = split(x, [2, 3, 4]);
      return { a, b: permute(b, [1, 0]), c };
    },
    gradient: 'smooth',
  },
  {
    name: 'copy: integers',
    inputs: { ids: integers([4, 6], 0, 100) },
    build: ({ ids }) => ({ y: permute(ids, [1, 0]), z: slice(ids, 1, 2, 5) }),
    gradient: 'none',
  },
  {
    name: 'copy: reshape of a permutation',
    inputs: { x: normal([3, 4, 5]) },
    build: ({ x }) => ({ y: reshape(permute(x, [1, 0, 2]), [4, 15]) }),
    gradient: 'smooth',
  },
  {
    name: 'copy: one element',
    inputs: { x: normal([1, 1]) },
    build: ({ x }) => ({ y: permute(x, [1, 0]) }),
    gradient: 'smooth',
  },
  {
    name: 'copy: concatenation of inputs',
    inputs: { a: normal([3, 2]), b: normal([3, 5]), c: normal([3, 1]) },
    build: ({ a, b, c }) => ({ y: concat([a, b, c]) }),
    gradient: 'smooth',
  },
  {
    name: 'copy: concatenation of what is computed, outer and inner axis',
    inputs: { a: normal([3, 4]), b: normal([3, 4]) },
    build: ({ a, b }) => {
      const parts = [scale(a, 2), multiply(a, b)];
      return { rows: concat(parts, 0), columns: concat(parts, 1) };
    },
    gradient: 'smooth',
  },
  {
    name: 'copy: concatenation with a part twice',
    inputs: { a: normal([2, 3]), b: normal([2, 2]) },
    build: ({ a, b }) => {
      const doubled = scale(a, 2);
      return { y: concat([doubled, b, doubled]) };
    },
    gradient: 'smooth',
  },
  {
    name: 'cast: to bf16, through a view of it, and back',
    inputs: { x: normal([13, 27]) },
    build: ({ x }) => ({ y: cast(permute(cast(x, 'bf16'), [1, 0]), 'f32') }),
    gradient: 'none',
  },
  {
    name: 'cast: numbers that bf16 rounds, overflows and keeps',
    inputs: {
      x: exactly(
        [7],
        [1 + 2 ** -8, 1 + 3 * 2 ** -8, -3.4e38, Number.NEGATIVE_INFINITY, Number.NaN, 0, 1e-40],
      ),
    },
    build: ({ x }) => ({ y: cast(cast(x, 'bf16'), 'f32') }),
    gradient: 'none',
  },
  {
    name: 'fill: a constant',
    inputs: { x: normal([3, 5]) },
    build: ({ x }) => ({ y: full([3, 5], 2.5, x), z: multiply(x, full([5], -1.5, x)) }),
    gradient: 'smooth',
  },
];
