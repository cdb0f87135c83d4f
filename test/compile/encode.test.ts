import test from 'ava';
import { compile, gradients, printGraph } from '#src/compile/index.js';
import { opsHash } from '#src/ops/header.js';
import { add, gelu, layerNorm, matmul } from '#src/ops/index.js';
import { Machine } from '../reference/machine.js';
import { graphOf, lines, slotAt } from './graphs.js';

/** A small block with its gradient, stored. */
const block = () =>
  graphOf({ x: [4, 8], w: [8, 8], b: [8], g: [8] }, ({ x, w, b, g }, graph) => {
    const y = add(x, gelu(add(matmul(layerNorm(x, g), w), b)));
    const [dw] = gradients(y, [w]);
    graph.store(dw!, slotAt('dw', 0, [8, 8]));
    return { y };
  });

test('the same graph gives the same bytes, traced once or twice', (t) => {
  const graph = block();
  const [first, again, other] = [compile(graph), compile(graph), compile(block())];
  t.deepEqual(first.bytes, again.bytes);
  t.deepEqual(first.bytes, other.bytes);
  t.is(first.planText(), other.planText());
});

test('programs of thousands of instructions are whole', (t) => {
  const graph = graphOf({ x: [2] }, ({ x }) => {
    let y = x;
    for (let step = 0; step < 2000; step++) y = add(y, x);
    return { y };
  });
  const program = compile(graph);
  t.true(program.bytes.length > 1 << 16);
  const machine = new Machine(program.bytes);
  machine.setInput(program.inputs[0], [1, 2]);
  machine.run();
  t.deepEqual([...machine.output(program.outputs[0]).data], [2001, 4002]);
});

test('compiling leaves the traced graph as it was', (t) => {
  const graph = block();
  const text = printGraph(graph);
  compile(graph);
  t.is(printGraph(graph), text);
});

test('a program names its magic number, its version and the ops it was made for', (t) => {
  const view = new DataView(compile(block()).bytes.buffer);
  t.is(String.fromCharCode(...new Uint8Array(view.buffer, 0, 4)), 'HDDL');
  t.is(view.getUint32(4, true), 1);
  t.is(view.getBigUint64(8, true), opsHash());
});

test('arenas are as large as declared, or as far as the program reaches', (t) => {
  const { memory } = compile(block());
  t.is(memory.gradients, 4 * 8 * 8);
  const sized = compile(block(), { arenas: { gradients: { bytes: 4096, layoutHash: 7n } } });
  t.is(sized.memory.gradients, 4096);
  t.is(new Machine(sized.bytes).arenas.gradients.length, 2048);
});

test('inputs lie in the order of their declaration, read or not', (t) => {
  const program = compile(
    graphOf({ unused: [3], x: [20], other: [2] }, ({ x, other }) => ({ y: add(x, x), z: add(other, other) })),
  );
  t.deepEqual(
    program.inputs.map(({ name, offset }) => [name, offset]),
    [
      ['unused', 0],
      ['x', 64],
      ['other', 192],
    ],
  );
  t.deepEqual(
    program.outputs.map(({ name, offset }) => [name, offset]),
    [
      ['y', 0],
      ['z', 128],
    ],
  );
  t.is(program.inputBytes, 256);
});

test('graph and plan as text', (t) => {
  const program = compile(
    graphOf({ x: [2, 3], w: [3, 4], b: [4] }, ({ x, w, b }) => ({ y: gelu(add(matmul(x, w), b)) })),
  );
  t.deepEqual(
    lines(program.graphText()),
    lines(`
      %0[2, 4], %1[2, 4], %2[4] = matmul($x, $w, $b) {epilogue: activation, kind: gelu}
      store %0 -> @y
    `),
  );
  t.deepEqual(
    lines(program.planText()),
    lines(`
      0  %0[2, 4], %1[2, 4], %2[4] = matmul($x@io+0, $w@io+64, $b@io+128) {epilogue: activation, kind: gelu}  -> io+192
    `),
  );
});
