import test from 'ava';
import { Decoder } from '#src/models/decoder.js';
import { Encoder } from '#src/models/encoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { initialValues } from '#src/models/initialize.js';
import { parameterTable } from '#src/models/parameterTable.js';
import type { Module } from '#src/nn/index.js';

const sizes = {
  vocabSize: 300,
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  maxPositionEmbeddings: 8,
};

/** Standard deviations of first values by parameter. */
function deviations(model: Module): Map<string, number> {
  const found = new Map<string, number>();
  for (const { entry, values } of initialValues(model, parameterTable(model), 11)) {
    const mean = values.reduce((a, b) => a + b) / values.length;
    found.set(entry.name, Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length));
  }
  return found;
}

test('weights start as their families published', (t) => {
  const near = (found: number | undefined, wanted: number, what: string) =>
    t.true(Math.abs(found! / wanted - 1) < 0.05, `${what}: ${found} instead of ${wanted}`);
  const gpt2 = deviations(new Decoder({ modelType: 'gpt2', ...sizes }));
  near(gpt2.get('layers.0.attention.qkv.weight'), 0.02, 'Radford et al. 2019');
  near(gpt2.get('layers.0.feedForward.down.weight'), 0.02 / Math.sqrt(2 * 2), 'residual, section 2.3');
  const bert = deviations(new Encoder({ modelType: 'bert', ...sizes }));
  near(bert.get('layers.1.feedForward.down.weight'), 0.02, 'Devlin et al. 2018');
  near(bert.get('embedding.weight'), 0.02, 'Devlin et al. 2018');
  // Vaswani et al. 2017: tables of deviation d^-0.5; matrices of variance 2 / (in + out), packed ones part by part.
  const marian = deviations(new EncoderDecoder({ modelType: 'marian', ...sizes }));
  near(marian.get('embedding.weight'), 64 ** -0.5, 'tables');
  near(marian.get('encoder.layers.0.attention.qkv.weight'), Math.sqrt(2 / 128), 'queries, keys and values');
  near(marian.get('decoder.layers.0.crossAttention.keyValue.weight'), Math.sqrt(2 / 128), 'keys and values');
  near(marian.get('decoder.layers.1.feedForward.up.weight'), Math.sqrt(2 / (64 + 256)), 'feed-forward');
  t.is(marian.get('finalLogitsBias'), 0);
});
