// The loss on the first steps of a character model on text8, and PyTorch's from weights and batches of the same kind.
import { existsSync, readFileSync } from 'node:fs';
import { splitTokens } from '#src/data/split.js';
import { MemoryTokens } from '#src/data/tokenSource.js';
import { CharacterTokenizer } from '#src/text/characters.js';
import { adamw } from '#src/train/optimizer.js';
import { Stepper } from '#src/train/stepper.js';
import { caseOptions } from '../trainingCase.js';
import { gpuCases } from './cases.js';
import { measureCurve } from './peers.js';
import { type Stage, verdict } from './stage.js';

/** In the unpacked bundle; npm run gpu:bundle puts it there where it has text8. */
const sample = 'text8-sample.txt';
const learningRate = 1e-3;
/** Of the steps, at each end: what means are taken over. */
const endShare = 0.1;
/** Nats a character that the loss has to fall by. */
const leastFall = 0.1;

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

export const curves: Stage = async ({ device, quick, peers, record, secondsLeft }) => {
  if (!existsSync(sample)) return { status: 'skipped', reason: 'the bundle was made without text8' };
  const isSmall = quick || device === 'cpu';
  const shape = gpuCases.find(({ name }) => name === (isSmall ? 'tiny' : 'characters-4k'))!;
  const steps = isSmall ? 100 : 500;
  const text = readFileSync(sample, 'latin1');
  const tokenizer = CharacterTokenizer.fromText(text);
  const { vocabSize } = tokenizer;
  const source = new MemoryTokens(tokenizer.encode(text), vocabSize);
  const stepper = new Stepper({
    ...caseOptions({ ...shape, vocabSize }, { device, maxSteps: steps }),
    data: { name: 'text8', source, tokenizer, parts: splitTokens(source.count) },
    optimizer: adamw({ learningRate, beta2: 0.95, weightDecay: 0.1 }),
  });
  const losses: number[] = [];
  try {
    await stepper.load();
    for (let step = 0; step < steps && secondsLeft() > 10; step++)
      losses.push((await stepper.submit(step)).loss);
  } finally {
    await stepper.session.close();
  }
  const end = Math.ceil(endShare * losses.length);
  const first = mean(losses.slice(0, end));
  const last = mean(losses.slice(-end));
  record({ case: shape.name, steps: losses.length, learningRate, first, last, losses });
  console.log(`${shape.name}: the loss fell from ${first.toFixed(3)} to ${last.toFixed(3)}`);
  if (peers && device !== 'cpu') {
    const found = measureCurve({ ...shape, vocabSize }, { text: sample, steps, learningRate }, secondsLeft());
    const theirs = Array.isArray(found.losses) ? mean((found.losses as number[]).slice(-end)) : undefined;
    record({ torch: { ...found, last: theirs } });
  }
  return verdict(losses.length === steps && first - last >= leastFall); // never for NaN
};
