import test from 'ava';
import { Graph, type Slot } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import type { DecoderConfig } from '#src/models/config.js';
import { Decoder } from '#src/models/decoder.js';
import { fromConfigJson } from '#src/models/huggingFace.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { causal } from '#src/objectives/causal.js';
import { trainingArenas } from '#src/train/arenas.js';
import { adamw } from '#src/train/optimizer.js';
import { ProgramBuilder } from '#src/train/programs.js';
import { difference } from '../reference/compare.js';
import { type Fixture, readFixture } from './fixtures.js';
import { interpretedRuns, nativeRuns, type Runs } from './runs.js';

const [rows, sequenceLength] = [3, 33];

/** A model with a fixture's config, the graphs of its programs, and places by the names of its checkpoint. */
function modelOf({ description }: Fixture) {
  const config = fromConfigJson(description);
  const model = new Decoder(config as DecoderConfig);
  const table = parameterTable(model);
  const settings = (description.optimizer ?? {}) as Record<string, number>;
  const { beta1, beta2, epsilon, weightDecay, maxGradNorm = 1 } = settings;
  const builder = new ProgramBuilder(table, {
    model,
    objective: causal({ sequenceLength, labelSmoothing: description.labelSmoothing as number }),
    vocabSize: config.vocabSize,
    rows,
    optimizer: settings.beta1 ? adamw({ beta1, beta2, epsilon, weightDecay }) : adamw(),
    clip: { mode: 'norm', maximum: maxGradNorm },
  });
  const logits = new Graph();
  trace({ graph: logits, training: false }, () => {
    const inputIds = logits.input({
      name: 'inputIds',
      shape: [rows, sequenceLength],
      dtype: 'i32',
      minimum: 0,
      limit: config.vocabSize,
    });
    logits.output('logits', model.forward({ inputIds }).logits);
  });
  const graphs = { first: builder.graph('first'), step: builder.graph('step'), logits };
  const places = checkpointTensors(model, table).map(
    ({ name, shape, offset }): Slot => ({ arena: 'parameters', name, shape, offset, dtype: 'f32' }),
  );
  return { builder, table, graphs, places, arenas: trainingArenas(table, builder.slots) };
}

type Model = ReturnType<typeof modelOf>;

/** Two ways to run, with how far each may be from PyTorch's float32: gradients, weights and logits have bounds of their own. */
const backends: Readonly<
  Record<string, { open: (model: Model) => Promise<Runs>; logits: number; relative: number }>
> = {
  interpreter: { open: async ({ graphs }) => interpretedRuns(graphs), logits: 2e-5, relative: 2e-5 },
  kernels: { open: ({ graphs, arenas }) => nativeRuns(graphs, arenas), logits: 1e-4, relative: 1e-4 },
};

const values = ({ tensors }: Fixture, name: string) => tensors.get(name)!.data;

async function loadWeights(runs: Runs, model: Model, fixture: Fixture): Promise<void> {
  for (const place of model.places) {
    if (!fixture.tensors.has(place.name)) throw new Error(`the fixture has no ${place.name}`);
    await runs.write(place, values(fixture, place.name));
  }
}

for (const [backend, { open, logits, relative }] of Object.entries(backends)) {
  for (const name of ['gpt2', 'gpt2-smoothing', 'llama', 'llama-smoothing']) {
    test(`${name} is PyTorch's, by the ${backend}`, async (t) => {
      const fixture = await readFixture(name);
      const model = modelOf(fixture);
      const runs = await open(model);
      try {
        await loadWeights(runs, model, fixture);
        const [inputIds, targets] = [values(fixture, 'inputIds'), values(fixture, 'targets')];
        const found = await runs.run('logits', { inputIds });
        const bound = { rtol: 0, atol: logits };
        t.is(difference(found.get('logits')!, values(fixture, 'logits'), bound), undefined);

        await runs.run('first', { inputIds, targets });
        const { lossSum, tokenCount } = model.builder.slots;
        const [sum, count] = [(await runs.read(lossSum))[0], (await runs.read(tokenCount))[0]];
        t.is(count, targets.filter((target) => target >= 0).length);
        t.true(Math.abs(sum / count - values(fixture, 'loss')[0]) < 1e-5, `loss ${sum / count}`);

        const gradients = [...fixture.tensors.keys()].filter((key) => key.startsWith('grad.'));
        t.is(gradients.length, model.places.length);
        for (const place of model.places) {
          const gradient = Float64Array.from(
            await runs.read({ ...place, arena: 'gradients' }),
            (value) => value / count,
          );
          const expected = values(fixture, `grad.${place.name}`);
          const message = difference(gradient, expected, { rtol: relative, atol: 1e-6 });
          t.is(message, undefined, place.name);
        }
      } finally {
        await runs.close();
      }
    });
  }

  test(`five steps of AdamW are PyTorch's, by the ${backend}`, async (t) => {
    const fixture = await readFixture('gpt2-adamw');
    const model = modelOf(fixture);
    const runs = await open(model);
    try {
      await loadWeights(runs, model, fixture);
      const { blocks } = model.builder.slots;
      await runs.write(blocks, model.table.blocks);
      const { learningRate, maxSteps } = fixture.description.optimizer as Record<string, number>;
      const batch = rows * sequenceLength;
      for (let step = 0; step < maxSteps; step++) {
        const [inputIds, targets] = ['inputIds', 'targets'].map((name) =>
          values(fixture, name).slice(step * batch, (step + 1) * batch),
        );
        const found = await runs.run('step', { inputIds, targets }, { learningRate, step });
        const loss = found.get('lossSum')![0] / found.get('tokenCount')![0];
        const bound = { rtol: 0, atol: 1e-5 };
        t.is(difference([loss], [values(fixture, 'loss')[step]], bound), undefined, `loss of step ${step}`);
        const norm = difference(found.get('gradientNorm')!, [values(fixture, 'gradientNorm')[step]], bound);
        t.is(norm, undefined, `norm of step ${step}`);
        t.deepEqual([...Array.from(found.get('counters')!)], [step + 1, 0, 0, 0]);
      }
      for (const place of model.places) {
        const [weight, expected] = [await runs.read(place), values(fixture, `final.${place.name}`)].map(
          (all) => (place.name.endsWith('c_attn.bias') ? withoutKeyBias(all) : all),
        );
        t.is(difference(weight, expected, { rtol: 1e-5, atol: 2e-5 }), undefined, place.name);
      }
    } finally {
      await runs.close();
    }
  });
}

/** Softmax ignores what all keys share: the key bias has no gradient, and Adam scales up its rounding. */
function withoutKeyBias(all: ArrayLike<number>): number[] {
  const third = all.length / 3;
  return Array.from(all).filter((_, index) => index < third || index >= 2 * third);
}
