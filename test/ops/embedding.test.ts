import test from 'ava';
import fc from 'fast-check';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { embedding, matmul, oneHot } from '#src/ops/index.js';
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
