import test from 'ava';
import { Graph } from '#src/graph/graph.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { Module, normal, Parameter } from '#src/nn/index.js';
import type { ClipMode } from '#src/ops/index.js';
import { trainingArenas, trainingSlots } from '#src/train/arenas.js';
import { type ScheduleName, schedules } from '#src/train/learningRate.js';
import { adam, adamw, appendUpdate, type OptimizerSettings, sgd } from '#src/train/optimizer.js';
import { readFixture } from '../models/fixtures.js';
import { interpretedRuns, nativeRuns } from '../models/runs.js';
import { difference } from '../reference/compare.js';

class TwoParameters extends Module {
  readonly matrix = new Parameter([6, 5], normal(1));
  readonly vector = new Parameter([7], normal(1));
}

const betas = { beta1: 0.9, beta2: 0.95, weightDecay: 0.1 };
const optimizers: Readonly<Record<string, OptimizerSettings>> = {
  adamw: adamw(betas),
  adam: adam(betas),
  sgd: sgd({ weightDecay: 0.1 }),
  momentum: sgd({ weightDecay: 0.1, momentum: 0.9 }),
  nesterov: sgd({ weightDecay: 0.1, momentum: 0.9, nesterov: true }),
};

interface Case {
  name: string;
  optimizer: string;
  clip: ClipMode;
  schedule: ScheduleName;
}

const { description, tensors } = await readFixture('optimizers');
const values = (name: string) => Array.from(tensors.get(name)!.data);
const { steps, warmupSteps, peak, minimum, decayOver } = description as Record<string, number>;

/** Tokens that a step's gradients are sums over: they are divided by it in the update. */
const tokens = 8;

function updateOf({ optimizer, clip }: Case) {
  const table = parameterTable(new TwoParameters());
  const slots = trainingSlots(table, optimizers[optimizer]);
  const graph = new Graph();
  const tokenCount = graph.input({ name: 'tokenCount', shape: [1], dtype: 'f32' });
  const maximum = (description.maximum as Record<string, number>)[clip];
  const flat = graph.readSlot(slots.gradients);
  const { norm } = appendUpdate(flat, tokenCount, slots, optimizers[optimizer], { mode: clip, maximum });
  graph.output('norm', norm);
  return { table, slots, graphs: { update: graph } };
}

for (const one of description.cases as Case[]) {
  const { name, schedule } = one;
  for (const backend of ['interpreter', 'kernels'] as const) {
    test(`${name} with ${schedule}: ${steps} updates are PyTorch's, by the ${backend}`, async (t) => {
      const { table, slots, graphs } = updateOf(one);
      const runs =
        backend === 'interpreter'
          ? interpretedRuns(graphs)
          : await nativeRuns(graphs, trainingArenas(table, slots));
      const rates = values(`${name}.learningRates`);
      const norms: number[] = [];
      try {
        await runs.write(slots.blocks, table.blocks);
        await runs.write(slots.counters, [0, 0, 0, 0]);
        for (const slot of [...slots.moments, slots.gradients, slots.parameters]) {
          await runs.write(slot, new Float32Array(slot.shape[0]));
        }
        for (const { name: key, slot } of table.entries) await runs.write(slot, values(key));
        for (let step = 0; step < steps; step++) {
          const learningRate = schedules[schedule]({ peak, warmupSteps, minimum, decayOver })(step, steps);
          t.true(Math.abs(learningRate - rates[step]) < 1e-9, `rate ${learningRate} of step ${step}`);
          for (const { name: key, slot } of table.entries) {
            const all = values(`grad.${key}`);
            const count = all.length / steps;
            const gradient = all.slice(step * count, (step + 1) * count).map((value) => value * tokens);
            await runs.write({ ...slot, arena: 'gradients' }, gradient);
          }
          const found = await runs.run('update', { tokenCount: [tokens] }, { learningRate, step });
          norms.push(found.get('norm')![0]);
        }
        t.is(difference(norms, values(`${name}.norms`), { rtol: 1e-6, atol: 0 }), undefined, 'norms');
        for (const { name: key, slot } of table.entries) {
          const message = difference(await runs.read(slot), values(`${name}.${key}`), {
            rtol: 2e-6,
            atol: 0,
          });
          t.is(message, undefined, key);
        }
      } finally {
        await runs.close();
      }
    });
  }
}

test('every schedule and every clipping is among the cases', (t) => {
  const cases = description.cases as Case[];
  t.deepEqual(
    new Set(cases.map(({ schedule }) => schedule)),
    new Set(Object.keys(schedules) as ScheduleName[]),
  );
  t.is(new Set(cases.map(({ clip }) => clip)).size, 4);
});
