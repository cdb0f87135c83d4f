import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { type SamplingOptions, samplingOf } from '#src/generate/sampling.js';
import { type Toy, toy } from './toy.js';

const prompt = [1, 4, 2];
const rows = 512;
const rounds = 8;

/** The model's distribution after `prompt`, from the log-probabilities of uniform draws. */
async function distribution({ programs, tokenizer }: Toy): Promise<number[]> {
  const probabilities: number[] = new Array(tokenizer.vocabSize);
  const outputs = await programs.run(stepOf({ uniform: true }, 0));
  const [tokens, logs] = [outputs.get<'i32'>('token'), outputs.get('logProbability')];
  tokens.forEach((token, row) => {
    probabilities[token] = Math.exp(logs[row]);
  });
  return probabilities;
}

const stepOf = (options: SamplingOptions, step: number) => ({
  rows: Array.from({ length: rows }, () => ({ fresh: prompt, cached: 0, ids: prompt })),
  choice: { kind: 'sample' } as const,
  sampling: samplingOf({ seed: 11, ...options }),
  step,
});

async function counts({ programs, tokenizer }: Toy, options: SamplingOptions): Promise<number[]> {
  const drawn = new Array(tokenizer.vocabSize).fill(0);
  for (let round = 0; round < rounds; round++) {
    const outputs = await programs.run(stepOf(options, round));
    for (const token of outputs.get<'i32'>('token')) drawn[token]++;
  }
  return drawn;
}

const normalised = (weights: readonly number[]) => {
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
};
const ranked = (p: readonly number[]) => p.map((_, id) => id).sort((a, b) => p[b] - p[a]);
const only = (p: readonly number[], kept: readonly number[]) =>
  normalised(p.map((value, id) => (kept.includes(id) ? value : 0)));

/** The fewest of `order` whose probabilities reach `share`. */
function fewest(p: readonly number[], order: readonly number[], share: number): number[] {
  let reached = 0;
  const last = order.findIndex((id) => {
    reached += p[id];
    return reached >= share;
  });
  return order.slice(0, last + 1);
}

/** Each strategy, and the distribution it should draw from. */
const strategies: readonly [SamplingOptions, (p: number[]) => number[]][] = [
  [{}, (p) => p],
  [{ uniform: true }, (p) => p.map(() => 1 / p.length)],
  [{ temperature: 0.6 }, (p) => normalised(p.map((value) => value ** (1 / 0.6)))],
  [{ temperature: 1.7 }, (p) => normalised(p.map((value) => value ** (1 / 1.7)))],
  [{ topK: 4 }, (p) => only(p, ranked(p).slice(0, 4))],
  [{ topP: 0.8 }, (p) => only(p, fewest(p, ranked(p), 0.8))],
  [{ minP: 0.15 }, (p) => normalised(p.map((value) => (value >= 0.15 * Math.max(...p) ? value : 0)))],
  [
    { typicalP: 0.7 },
    (p) => {
      const entropy = -p.reduce((sum, value) => sum + value * Math.log(value), 0);
      const distance = p.map((value) => Math.abs(-Math.log(value) - entropy));
      return only(p, fewest(p, ranked(distance.map((value) => -value)), 0.7));
    },
  ],
];

for (const [options, expectedOf] of strategies) {
  test(`${JSON.stringify(options)}: draws pass a chi-square test`, async (t) => {
    const small = await toy('abcdefghijkl', 8);
    const p = await distribution(small);
    t.true(Math.abs(p.reduce((a, b) => a + b, 0) - 1) < 1e-5, 'every token was drawn once');
    const drawn = await counts(small, options);
    const expected = expectedOf(p);
    const total = rows * rounds;
    let statistic = 0;
    let cells = 0;
    let [restDrawn, restExpected] = [0, 0];
    expected.forEach((share, id) => {
      if (share === 0) {
        t.is(drawn[id], 0, `token ${id} is outside the cut`);
      } else if (share * total < 5) {
        restDrawn += drawn[id];
        restExpected += share * total;
      } else {
        statistic += (drawn[id] - share * total) ** 2 / (share * total);
        cells++;
      }
    });
    if (restExpected >= 5) {
      statistic += (restDrawn - restExpected) ** 2 / restExpected;
      cells++;
    }
    // Wilson and Hilferty's approximation of the 99.9% quantile; draws come from a fixed seed.
    const degrees = Math.max(1, cells - 1);
    const quantile = degrees * (1 - 2 / (9 * degrees) + 3.09 * Math.sqrt(2 / (9 * degrees))) ** 3;
    t.true(cells > 1 || expected.filter(Boolean).length === 1);
    t.true(statistic < quantile, `chi-square ${statistic} with ${degrees} degrees, at most ${quantile}`);
    await small.session.close();
  });
}

test('what was said is said again less often, or not at all', async (t) => {
  const small = await toy('abcdefghijkl', 8);
  const said = (all: readonly number[]) => prompt.reduce((sum, id) => sum + all[id], 0);
  const plain = said(await counts(small, {}));
  t.true(said(await counts(small, { repetitionPenalty: 3 })) < 0.8 * plain);
  t.is(said(await counts(small, { noRepeatNgramSize: 1 })), 0);
  await small.session.close();
});

test('a seed reproduces the texts of a batch; prompts of a batch do not mix', async (t) => {
  const small = await toy('the quick brown fox jumps', 16);
  const prompts = ['the ', 'fox jumps the ', ''];
  const options = { temperature: 0.9, topP: 0.95, seed: 4, maxNewTokens: 24, onNotice: () => {} };
  const first = await small.generator.generateBatch(prompts, options);
  t.deepEqual(await small.generator.generateBatch(prompts, options), first);
  t.notDeepEqual(await small.generator.generateBatch(prompts, { ...options, seed: 5 }), first);
  const greedy = { greedy: true, maxNewTokens: 24, onNotice: () => {} };
  const together = await small.generator.generateBatch(prompts, greedy);
  for (const [index, prompt] of prompts.entries()) {
    const [alone] = await small.generator.generateBatch([prompt], greedy);
    t.is(alone.text, together[index].text);
    let streamed = '';
    for await (const piece of small.generator.generate(prompt, greedy)) streamed += piece;
    t.is(streamed, alone.text);
  }
  await small.session.close();
});

test('streams in turns do not see each other', async (t) => {
  const small = await toy('the quick brown fox jumps', 16);
  const options = { greedy: true, maxNewTokens: 20, onNotice: () => {} };
  const alone: string[] = [];
  for (const prompt of ['the ', 'fox ']) {
    let text = '';
    for await (const piece of small.generator.generate(prompt, options)) text += piece;
    alone.push(text);
  }
  const streams = [small.generator.generate('the ', options), small.generator.generate('fox ', options)];
  const texts = ['', ''];
  for (let step = 0; step < 20; step++) {
    const pieces = await Promise.all(streams.map((stream) => stream.next()));
    pieces.forEach(({ value }, index) => {
      texts[index] += value ?? '';
    });
  }
  t.deepEqual(texts, alone);
  await small.session.close();
});

test('texts end at stop strings and at the end token, and say why', async (t) => {
  const small = await toy('abcdefgh', 16);
  const options = { greedy: true, maxNewTokens: 12, onNotice: () => {} };
  const [{ text, tokens }] = await small.generator.generateBatch(['a'], options);
  const stop = text.slice(4, 6);
  const [stopped] = await small.generator.generateBatch(['a'], { ...options, stop: [stop] });
  t.is(stopped.end, 'stop');
  t.is(stopped.text, text.slice(0, text.indexOf(stop)));
  const [ended] = await small.generator.generateBatch(['a'], { ...options, endToken: tokens[3] });
  t.is(ended.end, 'end');
  t.deepEqual(ended.tokens, tokens.slice(0, tokens.indexOf(tokens[3])));
  t.is(ended.logProbabilities.length, ended.tokens.length);
  await small.session.close();
});

test('numbers out of range are refused by name', (t) => {
  for (const options of [
    { minP: 1.5 },
    { typicalP: 0 },
    { repetitionPenalty: 0 },
    { noRepeatNgramSize: 1.5 },
    { topK: -1 },
  ]) {
    t.throws(() => samplingOf(options), {
      instanceOf: ConfigError,
      message: new RegExp(Object.keys(options)[0]),
    });
  }
});
