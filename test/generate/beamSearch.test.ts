import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { evaluationPrograms } from '#src/evaluate/program.js';
import { causal } from '#src/objectives/causal.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { LoadedProgram } from '#src/runtime/loadedProgram.js';
import { type Toy, toy } from './toy.js';

/** The log-probability of `tokens` after `prompt`, from the program that evaluates a text. */
async function scorer({ session, model, table, tokenizer }: Toy, sequenceLength: number) {
  const { vocabSize } = tokenizer;
  const compiled = evaluationPrograms(model, table, causal({ sequenceLength }), { batchSize: 1, vocabSize });
  const [program] = await LoadedProgram.load(session, compiled);
  const scoreNow = async (prompt: readonly number[], tokens: readonly number[]): Promise<number> => {
    const ids = [...prompt, ...tokens];
    program.input('inputIds').fill(0).set(ids.slice(0, -1));
    const targets = program.input('targets').fill(-1);
    tokens.forEach((token, index) => {
      targets[prompt.length - 1 + index] = token;
    });
    return -(await program.run(encodeScalars({}))).scalar('lossSum');
  };
  let before: Promise<unknown> = Promise.resolve();
  return (prompt: readonly number[], tokens: readonly number[]): Promise<number> => {
    const score = before.then(() => scoreNow(prompt, tokens));
    before = score;
    return score;
  };
}

/** All sequences of `length` tokens. */
function sequences(vocabSize: number, length: number): number[][] {
  if (length === 0) return [[]];
  return sequences(vocabSize, length - 1).flatMap((start) =>
    Array.from({ length: vocabSize }, (_, token) => [...start, token]),
  );
}

test('with as many beams as sequences, beam search finds what trying them all finds', async (t) => {
  const small = await toy('abcd', 8);
  const score = await scorer(small, 8);
  const prompt = [2, 0, 3];
  const all = await Promise.all(
    sequences(4, 3).map(async (tokens) => ({ tokens, logProbability: await score(prompt, tokens) })),
  );
  all.sort((a, b) => b.logProbability - a.logProbability);
  const [found] = await small.generator.beamSearch([small.tokenizer.decode(prompt)], {
    numBeams: 64,
    numReturnSequences: 64,
    maxNewTokens: 3,
    lengthPenalty: 0,
  });
  t.is(found.length, 64);
  found.forEach((hypothesis, rank) => {
    t.true(Math.abs(hypothesis.logProbability - all[rank].logProbability) < 1e-4);
    t.is(hypothesis.text, small.tokenizer.decode(hypothesis.tokens));
  });
  t.deepEqual(found[0].tokens, all[0].tokens);
  await small.session.close();
});

test('hypotheses that end: the best of all lengths, scored with the length penalty', async (t) => {
  const small = await toy('abc', 8);
  const score = await scorer(small, 8);
  const endToken = 1;
  const ended = [0, 1, 2].flatMap((length) =>
    sequences(3, length).filter((tokens) => !tokens.includes(endToken)),
  );
  const open = sequences(3, 3).filter((tokens) => !tokens.includes(endToken));
  const lengthPenalty = 0.7;
  const all = await Promise.all([
    ...ended.map(async (tokens) => ({
      tokens,
      score: (await score([0], [...tokens, endToken])) / (tokens.length + 1) ** lengthPenalty,
    })),
    ...open.map(async (tokens) => ({ tokens, score: (await score([0], tokens)) / 3 ** lengthPenalty })),
  ]);
  all.sort((a, b) => b.score - a.score);
  const [found] = await small.generator.beamSearch(['a'], {
    numBeams: 40,
    numReturnSequences: 5,
    maxNewTokens: 3,
    endToken,
    lengthPenalty,
    earlyStopping: 'never',
  });
  t.deepEqual(
    found.map(({ tokens }) => tokens),
    all.slice(0, 5).map(({ tokens }) => tokens),
  );
  await small.session.close();
});

test('one beam is greedy', async (t) => {
  const small = await toy('the quick brown fox', 32);
  const prompt = 'the fox ';
  const greedy = await small.generator.generateBatch([prompt], { greedy: true, maxNewTokens: 20 });
  const [[beam]] = await small.generator.beamSearch([prompt], { numBeams: 1, maxNewTokens: 20 });
  t.is(beam.text, greedy[0].text);
  const sum = greedy[0].logProbabilities.reduce((a, b) => a + b, 0);
  t.true(Math.abs(beam.logProbability - sum) < 1e-3);
  await small.session.close();
});

test('beams that part and meet by the table of rows find what going over every text anew finds', async (t) => {
  const [cached, uncached] = [await toy('abcdefgh', 24), await toy('abcdefgh', 24, { cache: false })];
  const options = { numBeams: 5, numReturnSequences: 5, maxNewTokens: 12, noRepeatNgramSize: 3 };
  const prompts = ['abc', 'hgfedcba', 'd'];
  const [a, b] = [
    await cached.generator.beamSearch(prompts, options),
    await uncached.generator.beamSearch(prompts, options),
  ];
  t.deepEqual(
    a.map((hypotheses) => hypotheses.map(({ text }) => text)),
    b.map((hypotheses) => hypotheses.map(({ text }) => text)),
  );
  // Prompts that share the device's steps do not mix.
  for (const [index, prompt] of prompts.entries()) {
    const [alone] = await cached.generator.beamSearch([prompt], options);
    t.deepEqual(
      alone.map(({ text }) => text),
      a[index].map(({ text }) => text),
    );
  }
  for (const { text } of a.flat()) {
    const triples = Array.from({ length: text.length - 2 }, (_, at) => text.slice(at, at + 3));
    t.is(new Set(triples).size, triples.length, text);
  }
  await Promise.all([cached.session.close(), uncached.session.close()]);
});

test('a prompt that fills the context is refused, one that nearly does ends early and says so', async (t) => {
  const small = await toy('abcd', 8);
  await t.throwsAsync(small.generator.beamSearch(['abcdabcdabcd']), {
    instanceOf: ConfigError,
    message: /12 tokens but the context holds 8/,
  });
  const notices: string[] = [];
  const [[found]] = await small.generator.beamSearch(['abcdabc'], {
    maxNewTokens: 9,
    onNotice: (notice) => notices.push(notice),
  });
  t.is(found.tokens.length, 2);
  t.regex(notices[0], /room for 2/);
  await small.session.close();
});
