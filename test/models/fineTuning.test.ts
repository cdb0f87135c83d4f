import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import { Decoder } from '#src/models/decoder.js';
import { Encoder } from '#src/models/encoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import {
  addAdapters,
  decayLearningRates,
  freeze,
  isAdapter,
  isMeant,
  mergeAdapters,
  scaleLearningRates,
  trainableCount,
} from '#src/models/fineTuning.js';
import { initialValues } from '#src/models/initialize.js';
import { blockElements, parameterTable } from '#src/models/parameterTable.js';
import { normal, valuesOf } from '../ops/sample.js';
import { difference } from '../reference/compare.js';
import { interpretedRuns, nativeRuns } from './runs.js';
import { ids, traced } from './traced.js';

const sizes = {
  vocabSize: 11,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  maxPositionEmbeddings: 6,
  initializerRange: 0.4,
};
const decoder = () => new Decoder({ modelType: 'gpt2', ...sizes });

test('a name means the parts of a model in whose path its words follow each other', (t) => {
  t.true(isMeant('layers.0.attention.qkv.weight', 'layers.0'));
  t.true(isMeant('body.layers.0.attention.qkv.weight', 'attention.qkv'));
  t.true(isMeant('layers.10.feedForward.up.bias', 'layers.*.feedForward'));
  t.false(isMeant('layers.10.feedForward.up.bias', 'layers.1'));
  t.false(isMeant('layers.0.attention.qkv.weight', 'layers.attention'));
  t.false(isMeant('layers', 'layers.*'));
});

test('frozen parameters have no gradient and no optimizer state', (t) => {
  const model = decoder();
  const all = parameterTable(model);
  freeze(model, ['embedding', 'layers.0']);
  const table = parameterTable(model);
  const frozen = table.entries.filter(({ group }) => group === 'frozen').map(({ name }) => name);
  t.true(frozen.every((name) => name.startsWith('embedding.') || name.startsWith('layers.0.')));
  t.is(frozen.length, 1 + 12);
  t.is(table.count, all.count);
  t.true(table.trainableElements < all.trainableElements);
  const frozenCount = frozen.reduce((sum, name) => sum + model.namedParameters().get(name)!.size, 0);
  t.is(trainableCount(table), table.count - frozenCount);
  t.throws(() => freeze(model, ['layers.7']), { instanceOf: ConfigError, message: /'layers.7' names no/ });
  t.throws(() => freeze(model, ['layers', 'norm', 'positions']), {
    instanceOf: ConfigError,
    message: /nothing to train/,
  });
});

/** Learning-rate factors by parameter, as the optimizer reads them. */
function factorsOf(model: Decoder | EncoderDecoder): Map<string, number> {
  const { entries, blocks } = parameterTable(model);
  return new Map(entries.map(({ name, slot }) => [name, blocks[(2 * slot.offset) / 4 / blockElements + 1]]));
}

test('learning rates fall from the top of a model to its embeddings', (t) => {
  const model = decoder();
  decayLearningRates(model, 0.5);
  const factors = factorsOf(model);
  t.is(factors.get('norm.weight'), 1);
  t.is(factors.get('layers.1.attention.qkv.weight'), 0.5);
  t.is(factors.get('layers.0.feedForward.down.bias'), 0.25);
  t.is(factors.get('embedding.weight'), 0.125);
  t.is(factors.get('positions.weight'), 0.125);

  const translator = new EncoderDecoder({ modelType: 'marian', ...sizes, numDecoderLayers: 1 });
  decayLearningRates(translator, 0.5);
  t.is(factorsOf(translator).get('decoder.layers.0.attention.qkv.weight'), 0.5);
  t.is(factorsOf(translator).get('encoder.layers.0.attention.qkv.weight'), 0.25);
  t.is(factorsOf(translator).get('embedding.weight'), 0.125);

  scaleLearningRates(model, { layers: 0.1, 'layers.1': 3 });
  t.is(factorsOf(model).get('layers.1.attention.qkv.weight'), 3);
  t.is(factorsOf(model).get('layers.0.attention.qkv.weight'), Math.fround(0.1));
  t.throws(() => scaleLearningRates(model, { layers: -1 }), { instanceOf: ConfigError });
  t.throws(() => decayLearningRates(model, 0), { instanceOf: ConfigError });
});

const bodies = {
  gpt2: decoder,
  llama: () => new Decoder({ modelType: 'llama', ...sizes, numKeyValueHeads: 1 }),
  bert: () => new Encoder({ modelType: 'bert', ...sizes }),
};

for (const [name, modelOf] of Object.entries(bodies)) {
  for (const backend of ['interpreter', 'kernels'] as const) {
    test(`${name}: adapters change nothing at first, and merged compute the same, by the ${backend}`, async (t) => {
      const model = modelOf();
      const plain = checkpointTensors(model, parameterTable(model)).map(({ name }) => name);
      const targets = ['attention.qkv', 'feedForward.down'];
      t.is(addAdapters(model, { rank: 2, alpha: 6, targets }).length, 4);
      const table = parameterTable(model);
      t.true(table.entries.every(({ name, group }) => isAdapter(name) === (group !== 'frozen')));
      t.is(
        trainableCount(table),
        table.entries.filter(({ name }) => isAdapter(name)).reduce((n, e) => n + e.parameter.size, 0),
      );
      const tensors = checkpointTensors(model, table).map(({ name }) => name);
      t.deepEqual(tensors.filter((name) => !isAdapter(name)).sort(), plain.sort());

      const graphs = {
        hidden: traced([ids('inputIds', [2, 5], sizes.vocabSize)], ({ inputIds }) => ({
          y: model.hidden({ inputIds }),
        })),
        merge: mergeAdapters(model),
      };
      const parameters = { bytes: 4 * table.elements, layoutHash: table.layoutHash };
      const runs = backend === 'kernels' ? await nativeRuns(graphs, { parameters }) : interpretedRuns(graphs);
      const inputs = { inputIds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] };
      const hidden = async () => Array.from((await runs.run('hidden', inputs)).get('y')!);
      try {
        for (const { entry, values } of initialValues(model, table, 3)) await runs.write(entry.slot, values);
        const before = await hidden();
        const adapters = table.entries.filter(({ name }) => isAdapter(name));
        for (const { slot, name } of adapters.filter(({ name }) => name.endsWith('down'))) {
          await runs.write(slot, valuesOf('adapter', name, normal(slot.shape, 0.5)));
        }
        t.is(difference(await hidden(), before, { rtol: 0, atol: 1e-6 }), undefined, 'up is 0');
        for (const { slot, name } of adapters.filter(({ name }) => name.endsWith('up'))) {
          await runs.write(slot, valuesOf('adapter', name, normal(slot.shape, 0.5)));
        }
        const adapted = await hidden();
        t.truthy(difference(adapted, before, { rtol: 0.01, atol: 0 }), 'the adapters act');
        await runs.run('merge', {});
        t.is(difference(await hidden(), adapted, { rtol: 1e-5, atol: 0 }), undefined, 'merged');
        for (const { slot, name } of adapters.filter(({ name }) => name.endsWith('up'))) {
          t.true(
            Array.from(await runs.read(slot)).every((value) => value === 0),
            name,
          );
        }
      } finally {
        await runs.close();
      }
    });
  }
}

test('adapters say what is wrong with them', (t) => {
  const refusal = (message: RegExp) => ({ instanceOf: ConfigError, message });
  t.throws(() => addAdapters(decoder(), { rank: 0 }), refusal(/rank of at least 1/));
  t.throws(
    () => addAdapters(decoder(), { rank: 2, targets: ['query'] }),
    refusal(/'query' names no dense layer/),
  );
  const model = decoder();
  t.deepEqual(addAdapters(model, { rank: 2 }, ['norm']), [
    'layers.0.attention.qkv',
    'layers.1.attention.qkv',
  ]);
  const trained = parameterTable(model).entries.filter(({ group }) => group !== 'frozen');
  t.deepEqual(
    trained.filter(({ name }) => !isAdapter(name)).map(({ name }) => name),
    ['norm.weight', 'norm.bias'],
  );
});
