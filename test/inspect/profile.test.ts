import test from 'ava';
import { chromeTrace, profile, profileRows } from '#src/inspect/profile.js';
import { decoderConfig } from '#src/models/config.js';
import { adamw } from '#src/train/optimizer.js';
import { testDevice } from '../device.js';

const profiled = (program: 'step' | 'evaluate') =>
  profile({
    config: decoderConfig({
      vocabSize: 17,
      hiddenSize: 16,
      numHiddenLayers: 2,
      numAttentionHeads: 2,
      maxPositionEmbeddings: 8,
    }),
    batchSize: 2,
    sequenceLength: 8,
    optimizer: adamw({ learningRate: 1e-3 }),
    clip: { mode: 'norm', maximum: 1 },
    seed: 3,
    device: testDevice,
    threads: 1,
    program,
    runs: 2,
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
