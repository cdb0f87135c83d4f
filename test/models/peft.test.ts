// Adapters that PEFT made, over a model that transformers made (test/fixtures/make_peft.py).
import { readFileSync } from 'node:fs';
import test from 'ava';
import { PretrainedModel } from '#src/generate/pretrained.js';
import { testDevice } from '../device.js';

const folder = 'test/fixtures/peft';
const said = JSON.parse(readFileSync(`${folder}/said.json`, 'utf8'));

for (const [name, path, base] of [
  ['base', 'base', undefined],
  ['adapted', 'adapters', `${folder}/base`],
] as const) {
  test(`${name}: what is said is what PEFT says`, async (t) => {
    const { prompt, tokens, logProbabilities } = said[name];
    const options = { base, device: testDevice, threads: 1 };
    await using model = await PretrainedModel.open(`${folder}/${path}`, options);
    const [found] = await model.generateBatch([prompt], { greedy: true, maxNewTokens: tokens.length });
    t.deepEqual(found.tokens, tokens);
    found.logProbabilities.forEach((value, index) => {
      t.true(Math.abs(value - logProbabilities[index]) < 1e-5, `${value} and ${logProbabilities[index]}`);
    });
  });
}
