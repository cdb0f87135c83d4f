// Documents packed into one row are to a model what they are alone: logits, and gradients of the summed loss.
import test from 'ava';
import { gradients } from '#src/compile/index.js';
import { allocateBatch, EvaluationLoader } from '#src/data/loader.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import type { DecoderOptions } from '#src/models/config.js';
import { Decoder } from '#src/models/decoder.js';
import { initialValues } from '#src/models/initialize.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { causal } from '#src/objectives/causal.js';
import { crossEntropy } from '#src/ops/index.js';
import { difference } from '../reference/compare.js';
import { interpretedRuns, nativeRuns, type Runs } from './runs.js';

const vocabSize = 13;
const documents = [
  [3, 1, 4, 0],
  [1, 0],
  [5, 9, 2, 6, 5, 0],
];
const tokens = documents.flat();
const starts = [0, 4, 6];

/** A graph over one row, its loss, logits and the gradient of all parameters. */
function graphOf(model: Decoder, length: number, packDocuments: boolean): Graph {
  const graph = new Graph();
  const objective = causal({ sequenceLength: length, packDocuments });
  trace({ graph, training: true }, () => {
    const declared = objective.inputs({ rows: 1, length }, vocabSize);
    const given = Object.fromEntries(declared.map((input) => [input.name, graph.input(input)]));
    const { targets, ...inputs } = given;
    const { logits } = model.forward(inputs as never);
    const { lossSum } = crossEntropy(logits, targets);
    const { entries } = parameterTable(model);
    const found = gradients(
      lossSum,
      entries.map(({ slot }) => graph.readSlot(slot)),
    );
    entries.forEach(({ slot }, index) => {
      if (found[index]) graph.store(found[index], { ...slot, arena: 'gradients' });
    });
    graph.output('logits', logits);
  });
  return graph;
}

const models: Readonly<Record<string, Partial<DecoderOptions>>> = {
  learned: { positionEmbedding: 'learned' },
  sinusoidal: { positionEmbedding: 'sinusoidal' },
  'rotary, grouped queries': { modelType: 'llama', positionEmbedding: 'rotary', numKeyValueHeads: 1 },
  alibi: { positionEmbedding: 'alibi' },
  'none, with a window': { positionEmbedding: 'none', slidingWindow: 3 },
};
const backends: Readonly<
  Record<string, { open: (graphs: Readonly<Record<string, Graph>>) => Promise<Runs>; bound: number }>
> = {
  interpreter: { open: async (graphs) => interpretedRuns(graphs), bound: 1e-12 },
  kernels: { open: (graphs) => nativeRuns(graphs, undefined), bound: 1e-5 },
};

for (const [backend, { open, bound }] of Object.entries(backends)) {
  for (const [name, options] of Object.entries(models)) {
    test(`${name}: a packed document is what it is alone, by the ${backend}`, async (t) => {
      const model = new Decoder({
        vocabSize,
        hiddenSize: 16,
        numHiddenLayers: 2,
        numAttentionHeads: 2,
        maxPositionEmbeddings: tokens.length,
        initializerRange: 0.4,
        ...options,
      } as DecoderOptions);
      const table = parameterTable(model);
      const graphs = {
        packed: graphOf(model, tokens.length, true),
        ...Object.fromEntries(documents.map(({ length }, index) => [index, graphOf(model, length, false)])),
      };
      const runs = await open(graphs);
      try {
        for (const { entry, values } of initialValues(model, table, 5)) await runs.write(entry.slot, values);
        const readGradients = async () => {
          const all: number[][] = [];
          for (const { slot } of table.entries)
            all.push(Array.from(await runs.read({ ...slot, arena: 'gradients' })));
          return all.flat();
        };
        const shape = { batchSize: 1, sequenceLength: tokens.length, packDocuments: true };
        // The loader takes one token more than it gives as inputs.
        const source = new MemoryTokens(Uint32Array.from([...tokens, 7]), vocabSize, [
          ...starts,
          tokens.length,
        ]);
        const loader = new EvaluationLoader(source, { start: 0, end: source.count }, shape);
        const batch = allocateBatch(shape);
        t.is(loader.batchAt(0, batch), tokens.length - documents.length);
        const packed = (await runs.run('packed', { ...batch })).get('logits')!;
        const packedGradients = await readGradients();
        const sums = new Float64Array(packedGradients.length);
        for (const [index, document] of documents.entries()) {
          const targets = [...document.slice(1), -1];
          const alone = (await runs.run(String(index), { inputIds: document, targets })).get('logits')!;
          const begin = starts[index] * vocabSize;
          const within = Array.from(packed).slice(begin, begin + alone.length);
          t.is(difference(within, alone, { rtol: bound, atol: bound }), undefined, `logits of ${index}`);
          (await readGradients()).forEach((value, place) => {
            sums[place] += value;
          });
        }
        t.is(difference(packedGradients, sums, { rtol: 10 * bound, atol: bound }), undefined, 'gradients');
        t.true(packedGradients.some((value) => Math.abs(value) > 0.01));
      } finally {
        await runs.close();
      }
    });
  }
}
