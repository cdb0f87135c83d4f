// A run that trains adapters: what it changes, what it saves, and how that is opened, resumed and merged.
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openCheckpoint } from '#src/checkpoint/checkpoint.js';
import { openSafetensors, writeSafetensors } from '#src/checkpoint/safetensors.js';
import { CheckpointError, ConfigError } from '#src/errors.js';
import { mergeCheckpoint } from '#src/generate/mergeCheckpoint.js';
import { PretrainedModel } from '#src/generate/pretrained.js';
import { addAdapters, isAdapter, type LowRankOptions } from '#src/models/adapters.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import type { DecoderOptions } from '#src/models/config.js';
import { freeze, trainableCount } from '#src/models/fineTuning.js';
import { adamw } from '#src/train/optimizer.js';
import type { Stepper } from '#src/train/stepper.js';
import type { TrainerOptions } from '#src/train/trainer.js';
import { testDevice } from '../device.js';
import { eventsOf, temporaryFolder, tinyModel, tinyTrainer } from './tiny.js';

const opening = { device: testDevice, threads: 1 };
const lora = { rank: 2, alpha: 4, dropout: 0.1 };

/** A trained base, and trainers of adapters for it. */
async function adapting(t: ExecutionContext, family: Partial<DecoderOptions> = {}) {
  const folder = temporaryFolder(t);
  const base = join(folder, 'base');
  await eventsOf(tinyTrainer({ out: base, maxSteps: 30 }, family));
  const adapted = (options: Partial<TrainerOptions> = {}, how: LowRankOptions = lora) => {
    const model = tinyModel({ dropout: 0.1, ...family });
    addAdapters(model, how);
    return tinyTrainer({ model, initFrom: base, maxSteps: 20, seed: 11, ...options });
  };
  return { folder, base, adapted };
}

const latest = async (run: string) => (await openCheckpoint(run, { prefer: 'latest' })).folder;
const continued = async (folder: string, base?: string) => {
  await using model = await PretrainedModel.open(folder, { ...opening, base });
  const [completion] = await model.generateBatch(['the '], { greedy: true, maxNewTokens: 11 });
  return completion;
};
const refusal = (message: RegExp) => ({ instanceOf: CheckpointError, message });

test('only adapters and what is named change; they are saved apart, small, with their base', async (t) => {
  const { folder, base, adapted } = await adapting(t);
  const out = join(folder, 'run');
  const model = tinyModel();
  addAdapters(model, lora, ['norm']);
  const trainer = adapted({ out, model });
  for await (const event of trainer.run()) if (event.event === 'done') t.true(event.validLoss! < 3);
  const { session, table } = (trainer as unknown as { stepper: Stepper }).stepper;
  const file = await openSafetensors((await openCheckpoint(base)).folder);
  for (const { name, parameter, offset, bytes } of checkpointTensors(model, table)) {
    if (isAdapter(parameter)) continue;
    const now = await session.read('parameters', offset, new Uint8Array(bytes));
    const same = Buffer.compare(now, await file.read(name)) === 0;
    t.is(same, !parameter.startsWith('norm.'), name);
  }
  await file.close();
  await trainer.close();

  const checkpoint = await latest(out);
  t.deepEqual(readdirSync(checkpoint).sort(), [
    ...['adapter_config.json', 'adapter_model.safetensors', 'config.json', 'manifest.json'],
    ...['optimizer.safetensors', 'settings.json', 'tokenizer.json', 'trainer.json'],
  ]);
  const config = JSON.parse(readFileSync(join(checkpoint, 'adapter_config.json'), 'utf8'));
  const digest = JSON.parse(readFileSync(join(base, 'best', 'manifest.json'), 'utf8')).files;
  const { peft_type, task_type, r, lora_alpha, lora_dropout, modules_to_save, fan_in_fan_out } = config;
  t.deepEqual(
    { peft_type, task_type, r, lora_alpha, lora_dropout, modules_to_save, fan_in_fan_out },
    {
      ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 2, lora_alpha: 4, lora_dropout: 0.1 },
      ...{ modules_to_save: ['transformer.ln_f'], fan_in_fan_out: true },
    },
  );
  t.is(config.base_model_name_or_path, join(base, 'best'));
  t.is(config.revision, `sha256:${digest['model.safetensors'].sha256}`);
  t.true(config.target_modules.includes('transformer.h.1.mlp.c_proj'));
  const bytes = statSync(join(checkpoint, 'adapter_model.safetensors')).size;
  t.true(bytes < 4 * trainableCount(model) + 4096, `${bytes} bytes for ${trainableCount(model)} numbers`);
  t.true(bytes < statSync(join(base, 'best', 'model.safetensors')).size / 4);
});

test('a run stopped and resumed ends with the same adapters, optimizer and log, to the bit', async (t) => {
  const { folder, adapted } = await adapting(t);
  const [whole, parted] = [join(folder, 'whole'), join(folder, 'parted')];
  const options = { maxSteps: 30, evalEvery: 8, checkpointEvery: 10 };
  await eventsOf(adapted({ ...options, out: whole }));
  const stop = new AbortController();
  const trainer = adapted({ ...options, out: parted });
  for await (const event of trainer.run({ signal: stop.signal }))
    if (event.event === 'step' && event.step === 17) stop.abort();
  await trainer.close();
  const other = eventsOf(adapted({ ...options, out: parted, resume: true }, { ...lora, alpha: 3 }));
  await t.throwsAsync(other, refusal(/with adapters \{"rank":2,"alpha":4.*not \{"rank":2,"alpha":3/));
  await t.throwsAsync(eventsOf(tinyTrainer({ out: parted, resume: true })), refusal(/not null/));
  await eventsOf(adapted({ ...options, out: parted, resume: true }));
  t.deepEqual(readFileSync(join(parted, 'metrics.jsonl')), readFileSync(join(whole, 'metrics.jsonl')));
  for (const name of ['adapter_model.safetensors', 'optimizer.safetensors']) {
    const [a, b] = await Promise.all([parted, whole].map(async (run) => join(await latest(run), name)));
    t.deepEqual(readFileSync(a), readFileSync(b), name);
  }
});

for (const family of [{ modelType: 'gpt2' }, { modelType: 'llama', numKeyValueHeads: 1 }] as const) {
  test(`${family.modelType}: opened with its base, and merged, a run says what its trainer says`, async (t) => {
    const { folder, base, adapted } = await adapting(t, family);
    const [out, merged, apart] = ['run', 'merged', 'apart'].map((name) => join(folder, name));
    const trainer = adapted({ out, maxSteps: 60 });
    for await (const _ of trainer.run());
    const [said] = await trainer.generateBatch(['the '], { greedy: true, maxNewTokens: 11 });
    await trainer.saveModel(apart);
    await trainer.close();
    t.deepEqual(await continued(await latest(out)), said, 'to the bit');
    t.deepEqual(await continued(apart), said, 'without the state of the run');
    t.notDeepEqual((await continued(base)).logProbabilities, said.logProbabilities);

    await mergeCheckpoint(await latest(out), merged, opening);
    t.false(existsSync(join(merged, 'adapter_config.json')));
    rmSync(base, { recursive: true });
    const plain = await continued(merged);
    t.deepEqual(plain.tokens, said.tokens);
    plain.logProbabilities.forEach((value, index) => {
      t.true(
        Math.abs(value - said.logProbabilities[index]) < 1e-5,
        `${value}, ${said.logProbabilities[index]}`,
      );
    });
    await t.throwsAsync(mergeCheckpoint(merged, join(folder, 'again')), refusal(/holds no adapters/));
  });
}

test('in bf16, with micro-steps and early stopping, opened adapters say what the trainer says', async (t) => {
  const { folder, adapted } = await adapting(t);
  const out = join(folder, 'run');
  const stopping = { evalEvery: 4, earlyStoppingPatience: 1, optimizer: adamw({ learningRate: 0.3 }) };
  const trainer = adapted({
    out,
    precision: 'bf16',
    gradientAccumulationSteps: 2,
    maxSteps: 80,
    ...stopping,
  });
  const ends: string[] = [];
  for await (const event of trainer.run()) if (event.event === 'done') ends.push(event.reason);
  t.deepEqual(ends, ['stopped early']);
  const [said] = await trainer.generateBatch(['the '], { greedy: true, maxNewTokens: 11 });
  await trainer.close();
  t.deepEqual(await continued(out), said, 'the best adapters, which came back');
  t.notDeepEqual((await continued(await latest(out))).logProbabilities, said.logProbabilities);
});

test('a base that is gone, has moved or is another one is said by name', async (t) => {
  const { folder, base, adapted } = await adapting(t);
  const [out, moved] = [join(folder, 'run'), join(folder, 'moved')];
  await eventsOf(adapted({ out }));
  renameSync(base, moved);
  await t.throwsAsync(
    continued(out),
    refusal(/the base of these adapters cannot be opened: .*base.* does not exist.*--base/),
  );
  t.is((await continued(out, moved)).tokens.length, 11);
  await eventsOf(tinyTrainer({ out: base, seed: 8 }));
  await t.throwsAsync(
    continued(out),
    refusal(/is not the base of these adapters: its weights have the sha256/),
  );
  await t.throwsAsync(eventsOf(adapted({ out, resume: true, maxSteps: 30 })), refusal(/not the base/));
  await t.throwsAsync(mergeCheckpoint(out, moved, { base: moved }), refusal(/there already/));
  await t.throwsAsync(eventsOf(adapted({ initFrom: out })), refusal(/holds adapters.*heddle merge/));
});

test('what cannot be saved or opened is refused', async (t) => {
  const { folder, base, adapted } = await adapting(t);
  const out = join(folder, 'run');
  await t.throwsAsync(eventsOf(adapted({ out, initFrom: undefined })), {
    instanceOf: ConfigError,
    message: /name it with initFrom/,
  });
  const wider = tinyModel({ intermediateSize: 96 });
  addAdapters(wider, { rank: 1, targets: ['attention.qkv'] });
  await t.throwsAsync(
    eventsOf(tinyTrainer({ model: wider, initFrom: base })),
    refusal(/lacks transformer.h.0.mlp.c_fc.weight, which adapters would leave as it starts/),
  );

  // As PEFT writes it: no config of the model, no digest, and a layer without an adapter.
  const model = tinyModel();
  addAdapters(model, lora);
  freeze(model, ['layers.0']);
  await eventsOf(tinyTrainer({ model, initFrom: base, out, maxSteps: 5 }));
  const checkpoint = await latest(out);
  for (const name of ['config.json', 'tokenizer.json', 'settings.json', 'manifest.json'])
    rmSync(join(checkpoint, name));
  const path = join(checkpoint, 'adapter_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  const write = (changes: object) => writeFileSync(path, JSON.stringify({ ...config, ...changes }));
  write({ base_model_name_or_path: 'somebody/base', revision: null });
  t.is((await continued(checkpoint, base)).tokens.length, 11);
  write({ base_model_name_or_path: null });
  await t.throwsAsync(continued(checkpoint), refusal(/name no base/));
  await t.throwsAsync(continued(base, base), refusal(/holds no adapters and so has no base/));
  write({ use_dora: true });
  await t.throwsAsync(continued(checkpoint), refusal(/use_dora is not supported/));
  write({ rank_pattern: { c_attn: 4 } });
  await t.throwsAsync(continued(checkpoint), refusal(/rank_pattern/));
  write({ r: 3 });
  await t.throwsAsync(continued(checkpoint), refusal(/lora_A.weight has shape \[2,32\]/));
});

test('parts of a packed matrix must share what goes into their adapters', async (t) => {
  const { folder, adapted } = await adapting(t, { modelType: 'llama' });
  const trainer = adapted({ maxSteps: 3 });
  const apart = join(folder, 'apart');
  for await (const _ of trainer.run());
  await trainer.saveModel(apart);
  await trainer.close();
  rmSync(join(apart, 'manifest.json'));
  const path = join(apart, 'adapter_model.safetensors');
  const file = await openSafetensors(path);
  const tensors = await Promise.all(
    file.names.map(async (name) => {
      const source = await file.read(name);
      if (name.endsWith('0.self_attn.k_proj.lora_A.weight')) source.fill(0);
      return { name, dtype: 'F32' as const, shape: file.tensors.get(name)!.shape, source };
    }),
  );
  await file.close();
  await writeSafetensors(path, tensors);
  await t.throwsAsync(continued(apart), refusal(/different lora_A/));
  await writeSafetensors(
    path,
    tensors.filter(({ name }) => !name.includes('k_proj')),
  );
  await t.throwsAsync(continued(apart), refusal(/no tensor .*k_proj.lora_A.weight/));
  await writeSafetensors(path, [...tensors, { ...tensors[0], name: 'base_model.model.other' }]);
  await t.throwsAsync(continued(apart), refusal(/holds base_model.model.other, which the model has not/));
});
