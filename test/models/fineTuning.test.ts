import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { Decoder } from '#src/models/decoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import {
  decayLearningRates,
  freeze,
  isMeant,
  scaleLearningRates,
  trainableCount,
} from '#src/models/fineTuning.js';
import { blockElements, parameterTable } from '#src/models/parameterTable.js';

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
  t.is(trainableCount(model), table.count - frozenCount);
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
