import test from 'ava';
import type { Graph } from '#src/graph/graph.js';
import { Classifier } from '#src/models/classifier.js';
import { Encoder, MaskedLanguageModel } from '#src/models/encoder.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { initialValues } from '#src/models/initialize.js';
import { parameterTable } from '#src/models/parameterTable.js';
import type { Module } from '#src/nn/index.js';
import { difference } from '../reference/compare.js';
import { Arenas, interpret } from '../reference/interpreter.js';
import { ids, traced } from './traced.js';

const sizes = {
  vocabSize: 19,
  hiddenSize: 12,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  maxPositionEmbeddings: 8,
  initializerRange: 0.4,
};
const [rows, length] = [2, 6];
const texts = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];

/** The first values of a model's parameters, in the arenas of the interpreter. */
function filledArenas(model: Module): { arenas: Arenas; run: (graph: Graph, inputs: Numbers) => Outputs } {
  const arenas = new Arenas();
  const table = parameterTable(model);
  for (const { entry, values } of initialValues(model, table, 5)) arenas.write(entry.slot, values);
  const run = (graph: Graph, inputs: Numbers) => interpret(graph, { inputs, arenas });
  return { arenas, run };
}
type Numbers = Readonly<Record<string, ArrayLike<number>>>;
type Outputs = ReturnType<typeof interpret>;

const close = { rtol: 1e-12, atol: 1e-12 };

for (const positionEmbedding of ['learned', 'sinusoidal', 'rotary', 'alibi', 'none'] as const) {
  for (const normalizeBefore of [false, true]) {
    const name = `${positionEmbedding}, normalizeBefore ${normalizeBefore}`;
    const options = { ...sizes, positionEmbedding, normalizeBefore };

    test(`encoder, ${name}: padding changes nothing of what stands before it`, (t) => {
      const model = new Encoder({ modelType: 'bert', ...options });
      const { run } = filledArenas(model);
      const inputIds = ids('inputIds', [rows, length], sizes.vocabSize);
      const padded = traced([inputIds, ids('lengths', [rows], length + 1)], ({ inputIds, lengths }) => ({
        ...model.forward({ inputIds, lengths }),
      }));
      const alone = traced([ids('inputIds', [1, 4], sizes.vocabSize)], ({ inputIds }) => ({
        ...model.forward({ inputIds }),
      }));
      const found = run(padded, { inputIds: texts, lengths: [4, 6] });
      const expected = run(alone, { inputIds: texts.slice(0, 4) });
      const count = 4 * sizes.hiddenSize;
      const hidden = found.get('hidden')!.data.slice(0, count);
      t.is(difference(hidden, expected.get('hidden')!.data, close), undefined);
      const pooled = found.get('pooled')!.data.slice(0, sizes.hiddenSize);
      t.is(difference(pooled, expected.get('pooled')!.data, close), undefined);
    });

    test(`encoder-decoder, ${name}: padding changes nothing of what stands before it`, (t) => {
      const model = new EncoderDecoder({ modelType: 'marian', ...options, numDecoderLayers: 1 });
      const { run } = filledArenas(model);
      const inputs = (batch: number, source: number, target: number) => [
        ids('inputIds', [batch, source], sizes.vocabSize),
        ids('decoderInputIds', [batch, target], sizes.vocabSize),
        ids('inputLengths', [batch], source + 1),
        ids('decoderLengths', [batch], target + 1),
      ];
      const graphOf = (batch: number, source: number, target: number) =>
        traced(inputs(batch, source, target), (given) => model.forward(given as never));
      const found = run(graphOf(rows, length, 3), {
        inputIds: texts,
        inputLengths: [4, 6],
        decoderInputIds: [0, 7, 7, 0, 2, 3],
        decoderLengths: [2, 3],
      });
      const expected = run(graphOf(1, 4, 2), {
        inputIds: texts.slice(0, 4),
        inputLengths: [4],
        decoderInputIds: [0, 7],
        decoderLengths: [2],
      });
      const logits = found.get('logits')!.data.slice(0, 2 * sizes.vocabSize);
      t.is(difference(logits, expected.get('logits')!.data, close), undefined);
    });
  }
}

test('a masked language model scores chosen places as it scores all', (t) => {
  const model = new MaskedLanguageModel({ modelType: 'bert', ...sizes });
  const { run } = filledArenas(model);
  const inputIds = ids('inputIds', [rows, length], sizes.vocabSize);
  const all = run(
    traced([inputIds], ({ inputIds }) => model.forward({ inputIds })),
    { inputIds: texts },
  );
  const chosen = run(
    traced([inputIds, ids('positions', [3], rows * length, -1)], ({ inputIds, positions }) =>
      model.forward({ inputIds, positions }),
    ),
    { inputIds: texts, positions: [10, 2, -1] },
  );
  const { vocabSize } = sizes;
  const rowsOf = (place: number) => all.get('logits')!.data.slice(place * vocabSize, (place + 1) * vocabSize);
  const found = chosen.get('logits')!.data.slice(0, 2 * vocabSize);
  t.is(difference(found, [...Array.from(rowsOf(10)), ...Array.from(rowsOf(2))], close), undefined);
});

for (const body of ['gpt2', 'bert'] as const) {
  for (const pooling of ['mean', 'first', 'last'] as const) {
    test(`classifier over ${body}, ${pooling}: padding changes no class`, (t) => {
      const model = new Classifier({
        numLabels: 3,
        pooling,
        body: { modelType: body, ...sizes } as never,
      });
      const { run } = filledArenas(model);
      const graphOf = (batch: number, length: number) =>
        traced(
          [ids('inputIds', [batch, length], sizes.vocabSize), ids('lengths', [batch], length + 1)],
          ({ inputIds, lengths }) => model.forward({ inputIds, lengths }),
        );
      const found = run(graphOf(rows, length), { inputIds: texts, lengths: [4, 6] });
      const expected = run(graphOf(1, 4), { inputIds: texts.slice(0, 4), lengths: [4] });
      t.deepEqual(found.get('logits')!.shape, [rows, 3]);
      t.is(difference(found.get('logits')!.data.slice(0, 3), expected.get('logits')!.data, close), undefined);
    });
  }
}
