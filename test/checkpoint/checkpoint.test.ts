import { cp, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import {
  hasCheckpoints,
  latestCheckpoint,
  openCheckpoint,
  saveBest,
  saveCheckpoint,
} from '#src/checkpoint/checkpoint.js';
import { writeSafetensors } from '#src/checkpoint/safetensors.js';
import { CheckpointError, DeviceError } from '#src/errors.js';
import { filesAt, loadedStep, temporaryFolder } from './samples.js';

const full = () => Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });

test('keeps the last two, and the best apart from them', async (t) => {
  const run = join(await temporaryFolder(t), 'runs', 'x');
  for (const step of [100, 200, 300]) {
    t.is(await saveCheckpoint(run, step, filesAt(step)), join(run, 'checkpoints', `step-000${step}`));
    if (step < 300) await saveBest(run, step, filesAt(step));
  }
  t.deepEqual((await readdir(join(run, 'checkpoints'))).sort(), ['step-000200', 'step-000300']);
  t.deepEqual((await readdir(run)).sort(), ['best', 'checkpoints']);
  t.is(await loadedStep(run), 300);
  t.is((await openCheckpoint(run)).step, 200);
  t.is(await loadedStep(join(run, 'best')), 200);
  t.is(await loadedStep(join(run, 'checkpoints', 'step-000200')), 200);
  await saveCheckpoint(run, 300, filesAt(300)); // again, over the one that stands there
  await saveCheckpoint(run, 1_000_000, filesAt(1_000_000), { keep: 3 });
  t.deepEqual((await readdir(join(run, 'checkpoints'))).sort(), [
    'step-000200',
    'step-000300',
    'step-1000000',
  ]);
});

test('falls back to the checkpoint before a damaged one and says why', async (t) => {
  const run = await temporaryFolder(t);
  for (const step of [1, 2]) await saveCheckpoint(run, step, filesAt(step));
  const newest = join(run, 'checkpoints', 'step-000002');
  await truncate(join(newest, 'model.safetensors'), 100);
  const latest = await latestCheckpoint(run);
  t.is(latest.step, 1);
  t.is(latest.skipped.length, 1);
  t.is(latest.skipped[0].folder, newest);
  t.regex(latest.skipped[0].reason, /step-000002\/model\.safetensors has 100 bytes where \d+ were written/);
  await t.throwsAsync(openCheckpoint(newest), { instanceOf: CheckpointError, message: /model\.safetensors/ });
  // A run wound back to step 1 keeps it until two whole ones are newer.
  await saveCheckpoint(run, 2, filesAt(2));
  t.is(await loadedStep(run), 2);
  await writeFile(join(run, 'checkpoints', 'step-000001', 'config.json'), '{}');
  await rm(join(newest, 'manifest.json'));
  await t.throwsAsync(latestCheckpoint(run), {
    instanceOf: CheckpointError,
    message: /no whole checkpoint: .*step-000002\/manifest\.json.*; .*step-000001\/config\.json/,
  });
});

test('a damaged checkpoint does not count among those kept', async (t) => {
  const run = await temporaryFolder(t);
  for (const step of [1, 2]) await saveCheckpoint(run, step, filesAt(step));
  await truncate(join(run, 'checkpoints', 'step-000002', 'config.json'), 1);
  await saveCheckpoint(run, 3, filesAt(3));
  await truncate(join(run, 'checkpoints', 'step-000003', 'config.json'), 1);
  t.is(await loadedStep(run), 1);
});

test('300 random flips and truncations of any file are all found', async (t) => {
  const run = await temporaryFolder(t);
  for (const step of [1, 2]) await saveCheckpoint(run, step, filesAt(step));
  const newest = join(run, 'checkpoints', 'step-000002');
  const pristine = join(run, 'pristine');
  await cp(newest, pristine, { recursive: true });
  const names = await readdir(pristine);
  t.is(names.length, 4);
  const damage = fc.record({
    name: fc.constantFrom(...names),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    flip: fc.option(fc.integer({ min: 1, max: 255 })),
  });
  const property = fc.asyncProperty(damage, async ({ name, at, flip }) => {
    const bytes = await readFile(join(pristine, name));
    const position = Math.floor(at * bytes.length);
    if (flip !== null) bytes[position] ^= flip;
    await writeFile(join(newest, name), flip === null ? bytes.subarray(0, position) : bytes);
    const latest = await latestCheckpoint(run);
    await cp(join(pristine, name), join(newest, name));
    return latest.step === 1 && latest.skipped[0].reason.includes(name);
  });
  await fc.assert(property, { numRuns: 300 });
  t.is((await latestCheckpoint(run)).step, 2);
});

test('a disk that fills up at any of 50 offsets leaves the checkpoint before', async (t) => {
  const run = await temporaryFolder(t);
  const count = 1000;
  await saveCheckpoint(run, 1, filesAt(1, count));
  await saveBest(run, 1, filesAt(1, count));
  for (let i = 0; i < 50; i++) {
    const limit = Math.floor((i / 50) * count * 4);
    const save = i % 2 ? saveCheckpoint : saveBest;
    const files = filesAt(2, count);
    files[1] = {
      name: 'model.safetensors',
      write: async (path) => {
        await writeFile(path, new Uint8Array(limit));
        throw full();
      },
    };
    await t.throwsAsync(save(run, 2, files), {
      instanceOf: CheckpointError,
      message: /cannot save .*: the disk is full/,
    });
    t.is(await loadedStep(run, count), 1);
    t.is(await loadedStep(join(run, 'best'), count), 1);
    t.deepEqual([...(await readdir(run)), ...(await readdir(join(run, 'checkpoints')))].sort(), [
      'best',
      'checkpoints',
      'step-000001',
    ]);
  }
});

test('a source that fails in the middle of a tensor keeps its error', async (t) => {
  const run = await temporaryFolder(t);
  await saveCheckpoint(run, 1, filesAt(1));
  const lost = new DeviceError('cuda:0: the device is lost');
  const write = (path: string) =>
    writeSafetensors(path, [
      {
        name: 'w',
        dtype: 'U8',
        shape: [2 ** 25],
        source: (offset) => {
          if (offset > 0) throw lost;
        },
      },
    ]);
  t.is(await t.throwsAsync(saveCheckpoint(run, 2, [{ name: 'model.safetensors', write }])), lost);
  t.is(await loadedStep(run), 1);
});

test('a file that is not as long as its writer says is not saved', async (t) => {
  const run = await temporaryFolder(t);
  const write = async (path: string) => {
    await writeFile(path, 'short');
    return { bytes: 6, sha256: '0' };
  };
  await t.throwsAsync(saveCheckpoint(run, 1, [{ name: 'a.bin', write }]), {
    instanceOf: CheckpointError,
    message: /5 bytes where 6 were written/,
  });
  t.false(await hasCheckpoints(run));
});

test('names that lead out of the folder, or meet others, are refused', async (t) => {
  const run = await temporaryFolder(t);
  for (const name of ['../x', '/x', 'a/b', '', '.', '..', '.hidden', 'manifest.json', '__proto__']) {
    await t.throwsAsync(saveCheckpoint(run, 1, [{ name, json: 1 }]), { instanceOf: CheckpointError }, name);
  }
  const twice = { name: 'a.json', json: 1 };
  await t.throwsAsync(saveCheckpoint(run, 1, [twice, twice]), { instanceOf: CheckpointError });
  await t.throwsAsync(saveCheckpoint(run, -1, [twice]), { instanceOf: CheckpointError });
});

test('what an interrupted save left is read past and cleared by the next', async (t) => {
  const run = await temporaryFolder(t);
  const checkpoints = join(run, 'checkpoints');
  await saveCheckpoint(run, 1, filesAt(1));
  await saveBest(run, 1, filesAt(1));
  // Killed while writing:
  await mkdir(join(checkpoints, '.saving-step-000002'));
  await mkdir(join(checkpoints, '.removing-step-000000'));
  t.is(await loadedStep(run), 1);
  // Killed between the two renames of a replacement:
  await rename(join(run, 'best'), join(run, '.replaced-best'));
  await rename(join(checkpoints, 'step-000001'), join(checkpoints, '.replaced-step-000001'));
  t.is(await loadedStep(run), 1);
  t.is(await loadedStep(join(run, 'best')), 1);
  t.is((await openCheckpoint(run)).step, 1);
  await saveCheckpoint(run, 2, filesAt(2));
  await saveBest(run, 2, filesAt(2));
  t.deepEqual((await readdir(checkpoints)).sort(), ['step-000001', 'step-000002']);
  t.deepEqual((await readdir(run)).sort(), ['best', 'checkpoints']);
  t.is(await loadedStep(join(checkpoints, 'step-000001')), 1);
});

test('opens a run, a checkpoint and a model folder, and says what else it was given', async (t) => {
  const folder = await temporaryFolder(t);
  const model = join(folder, 'model');
  await mkdir(model);
  const error = (message: RegExp) => ({ instanceOf: CheckpointError, message });
  await t.throwsAsync(
    openCheckpoint(model),
    error(/neither a run nor a checkpoint nor a model folder.*give the folder/),
  );
  await t.throwsAsync(latestCheckpoint(model), error(/no checkpoint yet/));
  await t.throwsAsync(openCheckpoint(join(folder, 'absent')), error(/absent does not exist/));
  await t.throwsAsync(latestCheckpoint(join(folder, 'absent')), error(/absent does not exist/));
  await writeFile(join(model, 'config.json'), '{}');
  await t.throwsAsync(openCheckpoint(model), error(/neither model.safetensors nor/));
  await t.throwsAsync(openCheckpoint(join(model, 'config.json')), error(/is a file/));
  await t.throwsAsync(latestCheckpoint(join(model, 'config.json')), error(/not a folder/));
  await writeSafetensors(join(model, 'model.safetensors'), []);
  t.deepEqual(await openCheckpoint(model), { folder: model, step: undefined, skipped: [] });

  const run = join(folder, 'run');
  await saveBest(run, 7, filesAt(7));
  t.is((await openCheckpoint(run)).step, 7);
  t.is((await openCheckpoint(run, { prefer: 'latest' })).step, 7);
  await writeFile(join(run, 'best', 'config.json'), 'x');
  await t.throwsAsync(openCheckpoint(run), error(/best\/config\.json/));
  await saveCheckpoint(run, 8, filesAt(8));
  const opened = await openCheckpoint(run);
  t.is(opened.step, 8);
  t.regex(opened.skipped[0].reason, /best\/config\.json/);
});

test('a folder that cannot be written is said to be so', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'file'), '');
  await t.throwsAsync(saveCheckpoint(join(folder, 'file'), 1, filesAt(1)), {
    instanceOf: CheckpointError,
    message: /cannot save .*file\/checkpoints\/step-000001: .*\(ENOTDIR|EEXIST\)/,
  });
  // Mode bits do not bind root; /proc takes no files from anyone.
  await t.throwsAsync(saveBest('/proc/heddle', 1, filesAt(1)), {
    instanceOf: CheckpointError,
    message: /cannot save \/proc/,
  });
  t.true((await stat(folder)).isDirectory());
});
