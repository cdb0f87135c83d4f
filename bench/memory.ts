// What training holds beside PyTorch. And two shapes that would not fit if attention kept its T x T matrix or the classifier all its logits: planned and run.
import { planTraining } from '#src/inspect/plan.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import type { Precision } from '#src/shape/dtype.js';
import { adamw } from '#src/train/optimizer.js';
import { type BenchOptions, chosenNames, chosenOf } from './commandLine.js';
import { machine } from './machine.js';
import { stepperOf, type TrainingCase, timeSteps, trainingCases } from './trainingCase.js';
import { trainingMemory } from './trainingMemory.js';

const shapes: readonly TrainingCase[] = [
  { name: 'long', layers: 1, hiddenSize: 256, heads: 4, sequenceLength: 16384, batchSize: 1, vocabSize: 65 },
  {
    name: 'vocabulary',
    layers: 1,
    hiddenSize: 64,
    heads: 2,
    sequenceLength: 1024,
    batchSize: 16,
    vocabSize: 50257,
  },
];

async function measure(shape: TrainingCase, threads: number) {
  const { layers, hiddenSize, heads, sequenceLength, batchSize, vocabSize } = shape;
  const plan = planTraining({
    model: new Decoder({
      vocabSize,
      hiddenSize,
      numHiddenLayers: layers,
      numAttentionHeads: heads,
      maxPositionEmbeddings: sequenceLength,
    }),
    objective: causal({ sequenceLength }),
    vocabSize,
    batchSize,
    gradientAccumulationSteps: 1,
    optimizer: adamw(),
    clip: { mode: 'norm', maximum: 1 },
  });
  const stepper = stepperOf(shape, threads);
  await stepper.load();
  const [seconds] = await timeSteps(stepper, 0, 1);
  const { arenas } = stepper.session.stats();
  await stepper.session.close();
  const mebibytes = (bytes: number) => Math.round((10 * bytes) / 2 ** 20) / 10;
  return {
    name: shape.name,
    tokens: batchSize * sequenceLength,
    plannedActivationsMiB: mebibytes(plan.memory.activations ?? 0),
    plannedTotalMiB: mebibytes(plan.memoryTotal),
    allocatedActivationsMiB: mebibytes((arenas as Record<string, number>).activations),
    allLogitsMiB: mebibytes(4 * batchSize * sequenceLength * vocabSize),
    seconds,
    processPeakMiB: mebibytes(1024 * process.resourceUsage().maxRSS),
  };
}

/** Training cases by `cases`, without a choice the largest; the two shapes are always measured. */
export async function benchMemory(options: BenchOptions) {
  const { threads } = options;
  const chosen = chosenOf('cases', options.cases, trainingCases, ['d512']);
  const peers = chosenNames('peers', options.peers, ['torch']);
  const precisions = chosenNames<Precision>('precisions', options.precisions, ['float32', 'bf16']);
  const training = [];
  for (const precision of precisions)
    for (const shape of chosen) training.push(await trainingMemory(shape, precision, peers, threads));
  const cases = [];
  for (const shape of shapes) cases.push(await measure(shape, threads));
  return { machine: machine(), training, cases };
}
