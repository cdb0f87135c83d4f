// Makes training steps in TensorFlow.js when asked, in a process of its own, since they block its event loop:
//
//   npm install --prefix bench/peers/tfjs
//   node bench/peers/tfjs/step.mjs '{"backend": "wasm", "weights": "FILE.safetensors", "layers": 4, ...}'
//
// FILE holds the model's weights and a batch (inputIds, targets). It prints {"ready": true, "version", "loss"}, the loss of
// that batch with those weights, and answers every line `step K` with {"seconds": [...]}. It ends when stdin does.
import { createInterface } from 'node:readline';

const say = (message) => console.log(JSON.stringify(message));

async function load(backend) {
  try {
    const tf = await import('@tensorflow/tfjs'); // with its cpu backend
    if (backend === 'wasm') await import('@tensorflow/tfjs-backend-wasm');
    return tf;
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    say({ absent: 'TensorFlow.js is not installed (npm install --prefix bench/peers/tfjs)' });
    process.exit(0);
  }
}

const { backend, weights, ...shape } = JSON.parse(process.argv[2]);
const tf = await load(backend);
tf.enableProdMode();
await tf.setBackend(backend);
await tf.ready();
const [{ Decoder }, { readTensors }] = await Promise.all([
  import('./model.mjs'),
  import('./safetensors.mjs'),
]);
const { inputIds, targets, ...tensors } = readTensors(weights);
const model = new Decoder(shape, tensors, backend);
const ids = tf.tensor1d(inputIds.values, 'int32');
const next = tf.tensor1d(targets.values, 'int32');
const optimizer = tf.train.adam(1e-4, 0.9, 0.95);

const version = `${tf.version.tfjs}${backend === 'wasm' && tf.env().get('WASM_HAS_SIMD_SUPPORT') ? ' (SIMD)' : ''}`;
say({ ready: true, version, loss: tf.tidy(() => model.loss(ids, next)).dataSync()[0] });

for await (const line of createInterface({ input: process.stdin })) {
  const [command, count] = line.trim().split(' ');
  if (command !== 'step' || !(Number(count) >= 1)) {
    say({ error: `expected \`step K\` but received ${JSON.stringify(line)}` });
    continue;
  }
  const seconds = [];
  for (let step = 0; step < Number(count); step++) {
    const started = performance.now();
    const loss = optimizer.minimize(() => model.loss(ids, next), true);
    await loss.data();
    loss.dispose();
    seconds.push((performance.now() - started) / 1000);
  }
  say({ seconds, tensors: tf.memory().numTensors });
}
