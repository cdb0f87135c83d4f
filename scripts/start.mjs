// What `npm start` runs: trains a small character model on the State of the Union speeches, then writes a sample.
// Run again, it goes on from the last checkpoint.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = 'runs/start';

function heddle(...args) {
  console.log(`\n$ heddle ${args.map((each) => (/\s/.test(each) ? `'${each}'` : each)).join(' ')}\n`);
  const { status } = spawnSync(process.execPath, ['dist/cli/main.js', ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}

if (!existsSync(new URL('../dist/cli/main.js', import.meta.url))) {
  console.error('heddle: dist/ is not built; run npm install first');
  process.exit(1);
}

const model = { hiddenSize: 128, numHiddenLayers: 4, numAttentionHeads: 4, maxPositionEmbeddings: 64 };
const training = {
  batchSize: 12,
  maxSteps: 2000,
  learningRate: 1e-3,
  warmupSteps: 100,
  minLearningRate: 1e-4,
  beta2: 0.99,
  evalEvery: 500,
  evalBatches: 100,
};
const kebab = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const flags = Object.entries({ ...model, ...training }).flatMap(([name, value]) => [
  `--${kebab(name)}`,
  String(value),
]);

heddle(
  ...['train', '--data', 'sotu', '--tokenizer', 'characters', '--schedule', 'cosine', ...flags],
  ...['--out', out, ...(existsSync(new URL(`../${out}/`, import.meta.url)) ? ['--resume'] : [])],
);
heddle(
  'generate',
  out,
  '--prompt',
  'My fellow citizens, ',
  '--max-new-tokens',
  '400',
  '--temperature',
  '0.8',
);
