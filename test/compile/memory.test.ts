import test from 'ava';
import fc from 'fast-check';
import { compile } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import {
  activation,
  add,
  concat,
  expand,
  layerNorm,
  matmul,
  multiply,
  permute,
  scale,
  softmax,
  split,
  sum,
} from '#src/ops/index.js';
import { sizeOf } from '#src/shape/shape.js';
import { firstDifference } from '../reference/compare.js';
import { type Buffer, type Instruction, Machine } from '../reference/machine.js';
import { randomInputs, slotAt } from './graphs.js';
import { executed, interpreted } from './run.js';

// Rows of 20 bytes, which the planner may keep 32 apart (compile/pitch.ts).
const extent = 5;

// One behind the other, so that two lend room for a value until they are written. The last is only read.
const state = [0, 1, 2, 3].map((index) => ({
  slot: slotAt(`s${index}`, 4 * extent * extent * index, [extent, extent]),
  values: new Float64Array(extent * extent).fill(index / 4),
}));

const arenas = { gradients: { bytes: 4 * 4 * extent * extent, layoutHash: 0n } };

/** Ops on square matrices; each picks operands among the values there are. */
const steps: readonly ((pick: () => Tensor, x: Tensor) => readonly Tensor[])[] = [
  (pick) => [add(pick(), pick())],
  (pick) => [multiply(pick(), pick())],
  (pick) => [scale(pick(), 0.5, 0.1)],
  (pick) => [matmul(pick(), pick())],
  (pick) => [add(matmul(pick(), pick()), pick())],
  (pick) => [permute(pick(), [1, 0])],
  (pick) => [activation(pick(), 'tanh')],
  (pick) => [softmax(pick())],
  (pick, x) => [layerNorm(pick(), sum(x, [0]))],
  (pick) => {
    const [left, right] = split(pick(), [2, 3], 1);
    return [concat([right, left], 1)];
  },
  (pick) => split(concat([scale(pick(), 2), pick()], 0), [extent, extent], 0),
];

interface Plan {
  readonly choices: readonly { step: number; operands: readonly number[] }[];
  readonly outputs: readonly number[];
  readonly stores: readonly number[];
}

const choice = fc.record({
  step: fc.nat({ max: steps.length - 1 }),
  operands: fc.array(fc.nat({ max: 1000 }), { minLength: 3, maxLength: 3 }),
});
const plans: fc.Arbitrary<Plan> = fc.record({
  choices: fc.array(choice, { minLength: 1, maxLength: 14 }),
  outputs: fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 3 }),
  stores: fc.array(fc.nat({ max: 1000 }), { maxLength: 3 }),
});

/** The graph of a plan: later operands are likelier, so that most values die soon. */
function graphOfPlan({ choices, outputs, stores }: Plan): Graph {
  const graph = new Graph();
  const x = graph.input({ name: 'x', shape: [extent, extent], dtype: 'f32' });
  const values: Tensor[] = [graph.readSlot(state[3].slot), x];
  const recent = (number: number) => values[values.length - 1 - (number % Math.min(4, values.length))];
  for (const { step, operands } of choices) {
    let at = 0;
    values.push(...steps[step](() => recent(operands[at++]), x));
  }
  outputs.forEach((number, index) => {
    graph.output(`y${index}`, recent(number));
  });
  stores.forEach((number, index) => {
    graph.store(recent(number), state[index].slot);
  });
  return graph;
}

const bytesOf = ({ offset, shape, strides }: Buffer): [number, number] => [
  offset,
  offset + 4 * (1 + shape.reduce((last, size, axis) => last + (size - 1) * strides[axis], 0)),
];

const overlaps = (a: Buffer, b: Buffer): boolean => {
  const [[start, end], [otherStart, otherEnd]] = [bytesOf(a), bytesOf(b)];
  return a.arena === b.arena && start < otherEnd && otherStart < end;
};

/** Outputs of an instruction may lie on each other never, and on an input only where the op allows it, and then exactly. */
function wrongAliases({ op, inputs, outputs }: Instruction): string[] {
  return outputs.flatMap((output, index) => {
    if (!output) return [];
    const name = op.outputSpecs[index].name;
    const onOutputs = outputs.filter((next, place) => place > index && next && overlaps(output, next));
    const onInputs = inputs.filter((input, place) => {
      if (!input || !overlaps(output, input)) return false;
      const isAllowed = op.reuse?.[name]?.includes(op.inputSpecs[place].name);
      return !isAllowed || input.offset !== output.offset || sizeOf(input.shape) !== sizeOf(output.shape);
    });
    return onOutputs.length + onInputs.length > 0 ? [`${op.name}.${name}`] : [];
  });
}

test('random graphs: the planned program computes what the graph means, with and without fusions', (t) => {
  let borrowing = 0;
  fc.assert(
    fc.property(plans, (plan) => {
      const graph = graphOfPlan(plan);
      const situation = { inputs: randomInputs(graph, 'memory'), state };
      const expected = interpreted(graph, situation);
      for (const fuse of [true, false]) {
        const { results, program, machine } = executed(graphOfPlan(plan), situation, { fuse, arenas });
        const message = firstDifference(results, expected, { rtol: 1e-10, atol: 1e-10 });
        if (message) throw new Error(`${message}\n${program.planText()}`);
        const wrong = machine.instructions.flatMap(wrongAliases);
        if (wrong.length) throw new Error(`${wrong} lie where they may not\n${program.planText()}`);
        const written = machine.instructions.flatMap(({ outputs }) => outputs);
        if (written.filter((output) => output?.arena === 'gradients').length > plan.stores.length)
          borrowing++;
      }
    }),
    { numRuns: 300, seed: 1 },
  );
  t.true(borrowing > 50, `${borrowing} programs use memory of slots before they are written`);
});

test('random graphs: the peak lies between the largest value and the sum of all', (t) => {
  fc.assert(
    fc.property(plans, (plan) => {
      const program = compile(graphOfPlan(plan));
      const made = new Machine(program.bytes).instructions.flatMap(({ outputs }) =>
        outputs.filter((buffer) => buffer?.arena === 'activations'),
      );
      const sizes = made.map((buffer) => {
        const { shape, strides } = buffer!;
        return Math.ceil((4 * Math.max(...shape.map((size, axis) => size * strides[axis]))) / 64) * 64;
      });
      const peak = program.memory.activations;
      return peak >= Math.max(0, ...sizes) && peak <= sizes.reduce((a, b) => a + b, 0);
    }),
    { numRuns: 200, seed: 2 },
  );
  t.pass();
});

test('a chain of elementwise ops lives in one block', (t) => {
  const graph = new Graph();
  let x = graph.input({ name: 'x', shape: [1000], dtype: 'f32' });
  for (let step = 0; step < 10; step++) x = activation(scale(x, 1.1), 'silu');
  graph.output('y', sum(x));
  t.is(compile(graph).memory.activations, 4032);
});

test('a value that is read later is not written over', (t) => {
  const graph = new Graph();
  const x = graph.input({ name: 'x', shape: [1000], dtype: 'f32' });
  const kept = scale(x, 2);
  graph.output('y', sum(multiply(activation(scale(kept, 3), 'silu'), kept)));
  t.is(compile(graph).memory.activations, 2 * 4032);
});

test('a slot lends its memory until it is written, unless it is read before', (t) => {
  const whole = slotAt('whole', 0, [2100]);
  const activationsOf = (isReadBefore: boolean) => {
    const graph = new Graph();
    const x = graph.input({ name: 'x', shape: [1000], dtype: 'f32' });
    const kept = scale(x, 2);
    const total = sum(multiply(activation(scale(kept, 3), 'silu'), kept));
    if (isReadBefore) graph.output('before', sum(graph.readSlot(whole)));
    graph.store(scale(expand(total, [2100]), 2), whole);
    return compile(graph).memory.activations;
  };
  t.is(activationsOf(false), 64, 'the sum alone is there when the slot is written');
  t.true(activationsOf(true) >= 2 * 4032);
});

test('workspace is as large as the greediest op needs', (t) => {
  const graph = new Graph();
  const x = graph.input({ name: 'x', shape: [100, 7], dtype: 'f32' });
  graph.output('small', sum(x, [0]));
  graph.output('large', sum(x, [1]));
  // Of 7 blocks, a row each, in whole lines of 64 bytes; the other sum needs 64 * 4 * 7.
  t.is(compile(graph).memory.workspace, 64 * Math.ceil((7 * 4 * 100) / 64));
});
