import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { openSafetensors } from '#src/checkpoint/safetensors.js';
import { Stepper } from '#src/train/stepper.js';
import { type RunningPeer, startPeer, stepPeers } from '../../bench/peers/index.js';
import { checkSameLoss, writeStart } from '../../bench/peers/sameStart.js';
import { caseOptions, trainingCases } from '../../bench/trainingCase.js';

const tiny = trainingCases.find(({ name }) => name === 'tiny')!;

/** A peer whose program is this text. */
async function peerOf(t: { teardown(body: () => void): void }, program: string) {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-peer-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'peer.mjs');
  writeFileSync(file, program);
  return startPeer(process.execPath, [file]);
}

test('a peer says it is ready, makes steps and ends', async (t) => {
  const peer = (await peerOf(
    t,
    `import { createInterface } from 'node:readline';
     console.log(JSON.stringify({ ready: true, version: '1', loss: 2 }));
     for await (const line of createInterface({ input: process.stdin })) {
       const count = Number(line.split(' ')[1]);
       console.log(JSON.stringify({ seconds: Array.from({ length: count }, (_, step) => step) }));
     }`,
  )) as RunningPeer;
  t.deepEqual([peer.version, peer.loss], ['1', 2]);
  t.deepEqual(await peer.time(3), [0, 1, 2]);
  t.deepEqual(await peer.time(1), [0]);
  peer.close();
});

test('a peer that is absent says why', async (t) => {
  t.deepEqual(await peerOf(t, `console.log('{"absent": "not installed"}')`), { absent: 'not installed' });
  t.regex(((await peerOf(t, '')) as { absent: string }).absent, /ended without a word$/);
  t.regex(((await startPeer('no-such-program', [])) as { absent: string }).absent, /there is no/);
});

test('a peer that ends in the middle is an error', async (t) => {
  const peer = (await peerOf(
    t,
    `console.log('{"ready": true}'); process.stdin.once('data', () => process.exit());`,
  )) as RunningPeer;
  await t.throwsAsync(peer.time(1), { message: /ended when it was asked to step 1$/ });
});

test('peers that are too slow for a case, or have no bf16, say so', (t) => {
  const [d128, d384, d512] = ['d128', 'd384', 'd512'].map(
    (name) => trainingCases.find((shape) => shape.name === name)!,
  );
  const { torch, 'tfjs-wasm': wasm, 'tfjs-cpu': cpu } = stepPeers;
  t.deepEqual(
    [d128, d384, d512].map((shape) => torch.refuses(shape, 'bf16')),
    [undefined, undefined, undefined],
  );
  t.deepEqual([wasm.refuses(d128, 'float32'), wasm.refuses(d384, 'float32')], [undefined, undefined]);
  t.is(wasm.refuses(d512, 'float32'), 'too slow for other cases than tiny, d128, d384');
  t.is(cpu.refuses(d384, 'float32'), 'too slow for other cases than tiny, d128');
  t.is(wasm.refuses(d128, 'bf16'), 'has float32 only');
});

test('losses are the same within the tolerance of a precision', (t) => {
  checkSameLoss('peer', 'float32', 4.2, 4.2041);
  checkSameLoss('peer', 'bf16', 4.2, 4.24);
  const message = /^peer has a loss of 4.21 where ours is 4.2, .* at most 0.001; the two models differ$/;
  t.throws(() => checkSameLoss('peer', 'float32', 4.2, 4.21), { message });
  t.throws(() => checkSameLoss('peer', 'float32', 4.2, Number.NaN), { message: /loss of NaN/ });
});

test('what peers begin with are the weights and the batch of step 0', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-start-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const options = caseOptions(tiny, { threads: 1 });
  const stepper = new Stepper(options);
  t.teardown(() => stepper.session.close());
  await stepper.load();
  const path = join(folder, 'start.safetensors');
  await writeStart(path, stepper, options);
  const file = await openSafetensors(path);
  t.teardown(() => file.close());
  for (const { name, slot } of stepper.table.entries) t.deepEqual(file.tensors.get(name)?.shape, slot.shape);
  const weight = new Float32Array(65 * 64);
  await stepper.session.read('parameters', stepper.table.entries[0].slot.offset, weight);
  t.deepEqual(new Float32Array((await file.read('embedding.weight')).buffer), weight);
  const ids = new Int32Array((await file.read('inputIds')).buffer);
  t.deepEqual(ids, stepper.batches.batchAt(0, 0).arrays.inputIds);
});
