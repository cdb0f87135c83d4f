import test from 'ava';
import { chromeTrace, profile, profileRows } from '#src/inspect/profile.js';
import { randomText } from '#src/inspect/takenStep.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import type { Precision } from '#src/shape/dtype.js';
import { adamw } from '#src/train/optimizer.js';
import type { TrainingProgram } from '#src/train/programs.js';
import { testDevice } from '../device.js';

const profiled = (program: TrainingProgram, precision?: Precision) =>
  profile({
    model: new Decoder({
      vocabSize: 17,
      hiddenSize: 16,
      numHiddenLayers: 2,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 8,
    }),
    objective: causal({ sequenceLength: 8 }),
    data: randomText(17, 50, 3),
    vocabSize: 17,
    batchSize: 2,
    optimizer: adamw({ learningRate: 1e-3 }),
    clip: { mode: 'norm', maximum: 1 },
    precision,
    seed: 3,
    device: testDevice,
    threads: 1,
    program,
    runs: 2,
  });

test('every program of a run has a profile, in either precision', async (t) => {
  const bytes: Record<string, number> = {};
  for (const program of ['step', 'first', 'accumulate', 'update', 'evaluate'] as const)
    for (const precision of ['float32', 'bf16'] as const) {
      const { instructions } = await profiled(program, precision);
      t.true(instructions.length > 0, program);
      bytes[`${program} ${precision}`] = instructions.reduce(
        (sum, instruction) => sum + instruction.bytes,
        0,
      );
    }
  for (const program of ['step', 'evaluate']) t.true(bytes[`${program} bf16`] < bytes[`${program} float32`]);
});

test('a profile has the time and the cost of each instruction, and its sums keep both', async (t) => {
  const { instructions, flops, seconds } = await profiled('step');
  t.true(seconds > 0);
  t.true(instructions.length > 40);
  t.true(instructions.every((instruction) => instruction.seconds >= 0 && instruction.operands.length > 0));
  for (const byOperands of [false, true]) {
    const rows = profileRows(instructions, byOperands);
    t.is(
      rows.reduce((sum, row) => sum + row.calls, 0),
      instructions.length,
    );
    t.is(
      rows.reduce((sum, row) => sum + row.flops, 0),
      flops,
    );
    t.deepEqual(
      rows.map((row) => row.seconds),
      rows.map((row) => row.seconds).sort((a, b) => b - a),
    );
    t.is(rows.filter(({ op }) => op === 'matmul').length > 1, byOperands);
  }
});

test('a trace puts the instructions one after another', async (t) => {
  const found = await profiled('evaluate');
  const { traceEvents } = chromeTrace(found) as { traceEvents: { name: string; ts: number; dur: number }[] };
  t.deepEqual(
    traceEvents.map(({ name }) => name),
    found.instructions.map(({ op }) => op),
  );
  t.false(found.instructions.some(({ op }) => op === 'adamw'));
  for (let i = 1; i < traceEvents.length; i++) {
    const { ts, dur } = traceEvents[i - 1];
    t.true(Math.abs(ts + dur - traceEvents[i].ts) < 1e-6 * Math.max(1, ts));
  }
});
