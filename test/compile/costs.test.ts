import test from 'ava';
import { compile } from '#src/compile/index.js';
import { Graph, type Slot } from '#src/graph/graph.js';
import { matmul } from '#src/ops/index.js';

test('every instruction has its cost: operations, and bytes of what it reads and writes', (t) => {
  const slot = (name: string, offset: number, shape: number[]): Slot => ({
    arena: 'parameters',
    offset,
    shape,
    dtype: 'f32',
    name,
  });
  const graph = new Graph();
  const [a, b] = [slot('a', 0, [16, 32]), slot('b', 4096, [32, 8])];
  graph.output('product', matmul(graph.readSlot(a), graph.readSlot(b)));
  const program = compile(graph);
  const costs = program.costs();
  t.is(costs.length, program.instructions);
  t.is(
    costs.reduce((sum, { flops }) => sum + flops, 0),
    program.flops,
  );
  const product = costs.find(({ op }) => op === 'matmul')!;
  t.is(product.operands, '16x32 32x8');
  t.is(product.flops, 2 * 16 * 32 * 8);
  t.is(product.bytes, 4 * (16 * 32 + 32 * 8 + 16 * 8));
});
