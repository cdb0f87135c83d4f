import test from 'ava';
import { compile } from '#src/compile/index.js';
import { Translator } from '#src/generate/translate.js';
import { Graph } from '#src/graph/graph.js';
import { trace } from '#src/graph/trace.js';
import { EncoderDecoder } from '#src/models/encoderDecoder.js';
import { initialValues } from '#src/models/initialize.js';
import { type ParameterTable, parameterTable } from '#src/models/parameterTable.js';
import { crossEntropy } from '#src/ops/index.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { LoadedProgram } from '#src/runtime/loadedProgram.js';
import { Session } from '#src/runtime/session.js';
import { CharacterTokenizer } from '#src/text/characters.js';
import { testDevice } from '../device.js';

const letters = CharacterTokenizer.fromText('abcdefgh', ['bos', 'eos']);
const { bos, eos } = letters.specialTokens as { bos: number; eos: number };
const capacity = 24;

async function toy(
  options: { normalizeBefore?: boolean; positionEmbedding?: 'sinusoidal' | 'learned' } = {},
) {
  const model = new EncoderDecoder({
    vocabSize: letters.vocabSize,
    hiddenSize: 16,
    numHiddenLayers: 2,
    numAttentionHeads: 2,
    maxPositionEmbeddings: capacity,
    initializerRange: 0.5,
    ...options,
  });
  const table = parameterTable(model);
  const session = Session.open({ device: testDevice, threads: 1 });
  const translator = new Translator(session, model, table, letters);
  await translator.load();
  for (const { entry, values } of initialValues(model, table, 5)) {
    await session.write('parameters', entry.slot.offset, values);
  }
  return { session, translator, score: await scorer(session, model, table) };
}

/** The log-probability of a translation by the whole model at once, without any cache. */
async function scorer(session: Session, model: EncoderDecoder, table: ParameterTable) {
  const graph = new Graph();
  const input = (name: string, shape: number[], limit: number, minimum = 0) =>
    graph.input({ name, shape, dtype: 'i32', minimum, limit });
  trace({ graph, training: false }, () => {
    const { logits } = model.forward({
      inputIds: input('inputIds', [1, capacity], letters.vocabSize),
      inputLengths: input('inputLengths', [1], capacity + 1),
      decoderInputIds: input('decoderInputIds', [1, capacity], letters.vocabSize),
    });
    graph.output(
      'lossSum',
      crossEntropy(logits, input('targets', [1, capacity], letters.vocabSize, -1)).lossSum,
    );
  });
  const arenas = { parameters: { bytes: 4 * table.elements, layoutHash: table.layoutHash } };
  const [program] = await LoadedProgram.load(session, [compile(graph, { arenas })]);
  return async (source: string, target: readonly number[]): Promise<number> => {
    const ids = [...letters.encode(source), eos];
    program.input('inputIds').fill(0).set(ids);
    program.input('inputLengths')[0] = ids.length;
    program
      .input('decoderInputIds')
      .fill(0)
      .set([bos, ...target.slice(0, -1)]);
    program.input('targets').fill(-1).set(target);
    return -(await program.run(encodeScalars({}))).scalar('lossSum');
  };
}

for (const options of [{}, { normalizeBefore: true }, { positionEmbedding: 'learned' }] as const) {
  test(`${JSON.stringify(options)}: what decoding with caches scores is what the whole model scores`, async (t) => {
    const { session, translator, score } = await toy(options);
    const lines = ['abc', 'hgfedcbahgf', 'd', '', 'aabbccddeeffgg'];
    const found = await translator.translate(lines, {
      numBeams: 4,
      numReturnSequences: 4,
      maxNewTokens: 9,
      batchSize: 3,
    });
    for (const [index, hypotheses] of found.entries()) {
      t.true(hypotheses.length >= 1);
      for (const { tokens, logProbability } of hypotheses) {
        const ended = tokens.length < 9 ? [...tokens, eos] : tokens;
        const expected = await score(lines[index], ended);
        t.true(Math.abs(logProbability - expected) < 1e-3, `${logProbability} where ${expected} is expected`);
      }
    }
    // Lines that share a batch do not mix.
    for (const [index, line] of lines.entries()) {
      const [alone] = await translator.translate([line], {
        numBeams: 4,
        numReturnSequences: 4,
        maxNewTokens: 9,
      });
      t.deepEqual(
        alone.map(({ text }) => text),
        found[index].map(({ text }) => text),
      );
    }
    await session.close();
  });
}

test('a line longer than the context is cut, and said so', async (t) => {
  const { session, translator } = await toy();
  const notices: string[] = [];
  const [[found]] = await translator.translate(['abcdefgh'.repeat(4)], {
    numBeams: 2,
    onNotice: (notice) => notices.push(notice),
  });
  t.true(found.tokens.length <= capacity);
  t.regex(notices[0], /line 1 has 32 tokens and is cut to the 23 that fit/);
  await session.close();
});
