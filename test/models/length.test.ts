import test from 'ava';
import { compile, gradients } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { Decoder } from '#src/models/decoder.js';
import { Encoder } from '#src/models/encoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { crossEntropy, square, sum } from '#src/ops/index.js';

const sizes = {
  vocabSize: 32,
  hiddenSize: 32,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  maxPositionEmbeddings: 16_384,
};

/** Bytes that a forward and backward pass over a text of this length takes, its gradients with them. */
function activationBytes(kind: 'decoder' | 'encoder' | 'encoderDecoder', length: number): number {
  const graph = new Graph();
  const input = (name: string) =>
    graph.input({ name, shape: [1, length], dtype: 'i32', minimum: 0, limit: sizes.vocabSize });
  const models = {
    decoder: () => new Decoder({ modelType: 'llama', ...sizes, positionEmbedding: 'alibi' }),
    encoder: () => new Encoder({ modelType: 'bert', ...sizes, addPoolingLayer: false }),
    encoderDecoder: () => new EncoderDecoder({ modelType: 'marian', ...sizes }),
  };
  const model = models[kind]();
  const table = parameterTable(model);
  trace({ graph, training: true }, () => {
    const inputIds = input('inputIds');
    const loss =
      model instanceof Encoder
        ? sum(square(model.forward({ inputIds }).hidden))
        : crossEntropy(model.forward({ inputIds, decoderInputIds: inputIds }).logits, inputIds).lossSum;
    const found = gradients(
      loss,
      table.entries.map(({ slot }) => graph.readSlot(slot)),
    );
    table.entries.forEach(({ slot }, index) => {
      if (found[index]) graph.store(found[index], { ...slot, arena: 'gradients' });
    });
  });
  const { memory } = compile(graph);
  return memory.activations + memory.gradients; // gradients lend their memory until they are written
}

for (const kind of ['decoder', 'encoder', 'encoderDecoder'] as const) {
  test(`${kind}: memory grows with the length of a text, not with its square, up to 16,384 tokens`, (t) => {
    const [short, long] = [activationBytes(kind, 2048), activationBytes(kind, 16_384)];
    t.true(long < 8.1 * short, `${short} bytes for 2,048 tokens, ${long} for 16,384`);
    // One float32 matrix of 16,384 x 16,384 scores would be 1 GiB.
    t.true(long < 0.25 * 2 ** 30, `${long}`);
  });
}
