import test from 'ava';
import fc from 'fast-check';
import { DataError } from '#src/errors.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { embedding, embeddingBag, matmul, multiply, oneHot, reshape, sum } from '#src/ops/index.js';
import { oneHotRows } from '#src/text/oneHot.js';
import { nativeRuns } from '../models/runs.js';

const [rows, columns, count] = [7, 5, 6];
const numbers = (length: number) =>
  fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), { minLength: length, maxLength: length });
const ids = fc.array(fc.integer({ min: -1, max: rows }), { minLength: count, maxLength: count });

function withInputs(build: (inputs: ReturnType<typeof inputsOf>) => void): Graph {
  const graph = new Graph();
  trace({ graph, training: false }, () => build(inputsOf(graph)));
  return graph;
}

const inputsOf = (graph: Graph) => ({
  graph,
  ids: graph.input({ name: 'ids', shape: [count], dtype: 'i32', minimum: -1, limit: rows + 1 }),
  table: graph.input({ name: 'table', shape: [rows, columns], dtype: 'f32' }),
});

test('one-hot vectors times a table are the rows that embedding looks up, to the bit', async (t) => {
  const graph = withInputs(({ graph, ids, table }) => {
    graph.output('product', matmul(oneHot(ids, rows), table));
    graph.output('lookedUp', embedding(ids, table));
  });
  const runs = await nativeRuns({ graph }, {});
  try {
    await fc.assert(
      fc.asyncProperty(ids, numbers(rows * columns), async (ids, table) => {
        const found = await runs.run('graph', { ids, table });
        // A sum of products has no negative zero.
        t.deepEqual(
          found.get('product'),
          Float32Array.from(found.get('lookedUp')!, (value) => value + 0),
        );
      }),
      { numRuns: 50 },
    );
  } finally {
    await runs.close();
  }
});

test('a weighted bag of rows is the product with the sum of weighted one-hot vectors', async (t) => {
  const graph = withInputs(({ graph, ids, table }) => {
    const weights = graph.input({ name: 'weights', shape: [count], dtype: 'f32' });
    const [pairs, pairWeights] = [reshape(ids, [2, count / 2]), reshape(weights, [2, count / 2])];
    graph.output('bag', embeddingBag(pairs, pairWeights, table));
    const dense = sum(multiply(oneHot(pairs, rows), reshape(pairWeights, [2, count / 2, 1])), [1]);
    graph.output('product', matmul(dense, table));
  });
  const runs = await nativeRuns({ graph }, {});
  try {
    const weight = fc.array(fc.float({ noNaN: true, min: -4, max: 4 }), {
      minLength: count,
      maxLength: count,
    });
    await fc.assert(
      fc.asyncProperty(ids, weight, numbers(rows * columns), async (ids, weights, table) => {
        const found = await runs.run('graph', { ids, weights, table });
        const product = found.get('product')!;
        const largest = 4 * Math.max(...table.map(Math.abs));
        Array.from(found.get('bag')!).forEach((value, place) => {
          t.true(Math.abs(value - product[place]) <= 1e-6 * count * largest, `${value}, ${product[place]}`);
        });
      }),
      { numRuns: 50 },
    );
  } finally {
    await runs.close();
  }
});

test('rows of one-hot vectors are what the op gives; an id without one is refused', async (t) => {
  const graph = withInputs(({ graph, ids }) => graph.output('vectors', oneHot(ids, rows)));
  const runs = await nativeRuns({ graph }, {});
  const chosen = [3, 0, 6, 3, 1, 2];
  try {
    const table = new Float32Array(rows * columns);
    const vectors = (await runs.run('graph', { ids: chosen, table })).get('vectors')!;
    t.deepEqual(
      Array.from(vectors),
      oneHotRows(chosen, rows).flatMap((row) => [...row]),
    );
  } finally {
    await runs.close();
  }
  t.throws(() => oneHotRows([1, 7], rows), {
    instanceOf: DataError,
    message: /id 7 at place 1 .* 0 \.\.\. 6/,
  });
});
