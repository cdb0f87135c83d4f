import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { addAdapters, isAdapter, mergeAdapters } from '#src/models/adapters.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import { Decoder } from '#src/models/decoder.js';
import { Encoder } from '#src/models/encoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { trainableCount } from '#src/models/fineTuning.js';
import { initialValues } from '#src/models/initialize.js';
import { Mlp } from '#src/models/mlp.js';
import { parameterTable } from '#src/models/parameterTable.js';
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
        trainableCount(model),
        table.entries.filter(({ name }) => isAdapter(name)).reduce((n, e) => n + e.parameter.size, 0),
      );
      const tensors = checkpointTensors(model, table).filter(({ parameter }) => !isAdapter(parameter));
      t.deepEqual(tensors.map(({ name }) => name).sort(), plain.sort());

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
  t.throws(() => addAdapters(new Mlp({ inputSize: 2, hiddenSizes: [3], numLabels: 2 }), { rank: 1 }), {
    instanceOf: ConfigError,
    message: /no dense layer is in an attention.*the model has/,
  });
  const parts = ['attention.qkv', 'attention.output', 'feedForward.up', 'feedForward.down'];
  t.deepEqual(
    addAdapters(model, { rank: 2 }, ['norm']),
    [0, 1].flatMap((layer) => parts.map((part) => `layers.${layer}.${part}`)),
  );
  const trained = parameterTable(model).entries.filter(({ group }) => group !== 'frozen');
  t.deepEqual(
    trained.filter(({ name }) => !isAdapter(name)).map(({ name }) => name),
    ['norm.weight', 'norm.bias'],
  );
});

test('adapters have the names of PEFT, a packed matrix those of its parts', (t) => {
  const named = (model: Decoder | EncoderDecoder, targets: string[]) => {
    addAdapters(model, { rank: 2, targets });
    return checkpointTensors(model, parameterTable(model))
      .filter(({ parameter }) => isAdapter(parameter))
      .map(({ name, shape }) => `${name} ${shape.join('x')}`)
      .sort();
  };
  t.deepEqual(named(decoder(), ['layers.1.attention.qkv']), [
    'transformer.h.1.attn.c_attn.lora_A.weight 2x8',
    'transformer.h.1.attn.c_attn.lora_B.weight 24x2',
  ]);
  const llama = new Decoder({ modelType: 'llama', ...sizes, numKeyValueHeads: 1 });
  t.deepEqual(named(llama, ['layers.0.attention.qkv', 'layers.1.feedForward.up']), [
    'model.layers.0.self_attn.k_proj.lora_A.weight 2x8',
    'model.layers.0.self_attn.k_proj.lora_B.weight 4x2',
    'model.layers.0.self_attn.q_proj.lora_A.weight 2x8',
    'model.layers.0.self_attn.q_proj.lora_B.weight 8x2',
    'model.layers.0.self_attn.v_proj.lora_A.weight 2x8',
    'model.layers.0.self_attn.v_proj.lora_B.weight 4x2',
    'model.layers.1.mlp.gate_proj.lora_A.weight 2x8',
    'model.layers.1.mlp.gate_proj.lora_B.weight 64x2',
    'model.layers.1.mlp.up_proj.lora_A.weight 2x8',
    'model.layers.1.mlp.up_proj.lora_B.weight 64x2',
  ]);
  const marian = new EncoderDecoder({ modelType: 'marian', ...sizes, numHiddenLayers: 1 });
  t.deepEqual(named(marian, ['crossAttention.keyValue']), [
    'model.decoder.layers.0.encoder_attn.k_proj.lora_A.weight 2x8',
    'model.decoder.layers.0.encoder_attn.k_proj.lora_B.weight 8x2',
    'model.decoder.layers.0.encoder_attn.v_proj.lora_A.weight 2x8',
    'model.decoder.layers.0.encoder_attn.v_proj.lora_B.weight 8x2',
  ]);
});
