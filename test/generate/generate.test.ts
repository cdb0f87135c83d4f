import test from 'ava';
import { ConfigError } from '#src/errors.js';
import type { DecoderOptions } from '#src/models/config.js';
import { Decoder, type LanguageModelInputs } from '#src/models/decoder.js';
import { DecoderBlock, Embedding, LearnedPositions, Module } from '#src/nn/index.js';
import { causal } from '#src/objectives/causal.js';
import { add, matmul, transpose } from '#src/ops/index.js';
import { adamw } from '#src/train/optimizer.js';
import { Trainer } from '#src/train/trainer.js';
import { tinyData, tinyModel, tinyTrainer } from '../train/tiny.js';

async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

async function trained(model: Decoder): Promise<Trainer> {
  const trainer = tinyTrainer({ model, maxSteps: 120, batchSize: 8 });
  for await (const _ of trainer.run());
  return trainer;
}

/** The same model without its cache: every token goes over the whole context. */
class Uncached extends Decoder {
  override readonly keepsCache = false as never;
}

const families: Partial<DecoderOptions>[] = [
  { modelType: 'gpt2' },
  { modelType: 'llama', numKeyValueHeads: 1 },
  { positionEmbedding: 'sinusoidal' },
  { positionEmbedding: 'alibi', slidingWindow: 5 },
];

for (const family of families) {
  test(`${JSON.stringify(family)}: the cache changes no token, before and after the window slides`, async (t) => {
    const options = tinyModel(family).config;
    const [cached, uncached] = [await trained(new Decoder(options)), await trained(new Uncached(options))];
    const settings = { greedy: true, maxNewTokens: 40, onNotice: () => {} };
    const text = await textOf(cached.generate('the ', settings));
    t.is(text.length, 40);
    t.is(await textOf(uncached.generate('the ', settings)), text);
    const sampled = { temperature: 0.9, topK: 8, topP: 0.95, seed: 3, maxNewTokens: 10 };
    t.is(
      await textOf(uncached.generate('to be ', sampled)),
      await textOf(cached.generate('to be ', sampled)),
    );
    await Promise.all([cached.close(), uncached.close()]);
  });
}

test('seeds choose samples; greedy, uniform and cuts do what they say', async (t) => {
  const trainer = await trained(tinyModel());
  const sample = (options: object) => textOf(trainer.generate('a', { maxNewTokens: 14, ...options }));
  t.is(await sample({ seed: 1 }), await sample({ seed: 1 }));
  t.not(await sample({ seed: 1 }), await sample({ seed: 2 }));
  t.is(await sample({ topK: 1, seed: 5 }), await sample({ greedy: true }));
  t.is(await sample({ topP: 1e-6, seed: 5 }), await sample({ temperature: 0 }));
  const uniform = new Set(
    await textOf(trainer.generate('a', { uniform: true, maxNewTokens: 400, onNotice: () => {} })),
  );
  t.true(uniform.size > 0.9 * tinyData().tokenizer.vocabSize);
  await t.throwsAsync(sample({ topP: 0 }), { instanceOf: ConfigError, message: /topP/ });
  await t.throwsAsync(sample({ greedy: true, temperature: 1 }), { instanceOf: ConfigError });
  await trainer.close();
});

test('a prompt longer than the context goes on from its end, and says so once', async (t) => {
  const trainer = await trained(tinyModel());
  const notices: string[] = [];
  const prompt = 'a journey of a thousand miles begins with ';
  const text = await textOf(
    trainer.generate(prompt, { maxNewTokens: 20, onNotice: (notice) => notices.push(notice) }),
  );
  t.is(text.length, 20);
  t.is(notices.length, 1);
  t.regex(notices[0], /42 tokens long but the context holds 16/);
  await trainer.close();
});

test('a model written in plain modules trains and generates', async (t) => {
  const data = tinyData();
  class Tiny extends Module {
    embed = new Embedding(data.tokenizer.vocabSize, 32);
    positions = new LearnedPositions(16, 32);
    block = new DecoderBlock({ hiddenSize: 32, numAttentionHeads: 4 });
    forward({ inputIds }: LanguageModelInputs) {
      const x = add(this.embed.forward(inputIds), this.positions.forward(inputIds.shape[1]));
      return { logits: matmul(this.block.forward(x), transpose(this.embed.weight)) };
    }
  }
  const trainer = new Trainer({
    model: new Tiny(),
    objective: causal({ sequenceLength: 16 }),
    data,
    optimizer: adamw({ learningRate: 3e-3 }),
    batchSize: 8,
    maxSteps: 200,
    threads: 1,
  });
  const losses: number[] = [];
  for await (const event of trainer.run()) if (event.event === 'step') losses.push(event.loss);
  t.true(losses.at(-1)! < 0.7 * losses[0], `${losses[0]} fell to ${losses.at(-1)} only`);
  t.is((await textOf(trainer.generate('the ', { maxNewTokens: 12 }))).length, 12);
  await trainer.close();
});

test('generation in mid-run uses the weights of that moment', async (t) => {
  const trainer = tinyTrainer({ maxSteps: 40, evalEvery: 10 });
  const samples: string[] = [];
  for await (const event of trainer.run()) {
    if (event.event === 'evaluation')
      samples.push(await textOf(trainer.generate('t', { greedy: true, maxNewTokens: 12 })));
  }
  t.is(samples.length, 4);
  t.true(new Set(samples).size > 1);
  await trainer.close();
});
