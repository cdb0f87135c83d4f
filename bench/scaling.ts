// A training step of ours with the size of the model and with threads: seconds, tokens/s, GFLOP/s.
import { planTraining } from '#src/inspect/plan.js';
import type { Precision } from '#src/shape/dtype.js';
import { Stepper } from '#src/train/stepper.js';
import { type BenchOptions, chosenNames, chosenOf } from './commandLine.js';
import { machine, spreadOf } from './machine.js';
import { caseOptions, type TrainingCase, timeSteps, trainingCases } from './trainingCase.js';

const defaultRounds = 1;

async function measure(shape: TrainingCase, precision: Precision, threads: number, rounds: number) {
  const options = caseOptions(shape, { threads, precision });
  const { flopsPerToken, parameterCount } = planTraining({ ...options, vocabSize: shape.vocabSize });
  const stepper = new Stepper(options);
  try {
    await stepper.load();
    const trial = (await timeSteps(stepper, 0, 3)).at(-1)!;
    const count = Math.max(2, Math.min(50, Math.ceil(1 / trial)));
    const ours = spreadOf(await timeSteps(stepper, 3, rounds * count));
    const tokens = shape.batchSize * shape.sequenceLength;
    return {
      name: shape.name,
      precision,
      threads,
      parameters: parameterCount,
      tokens,
      ours,
      tokensPerSecond: tokens / ours.median,
      gigaflopsPerSecond: (tokens * flopsPerToken.training) / ours.median / 1e9,
    };
  } finally {
    await stepper.session.close();
  }
}

export async function benchScaling({ threads, rounds = defaultRounds, ...options }: BenchOptions) {
  const shapes = chosenOf('cases', options.cases, trainingCases);
  const precisions = chosenNames<Precision>('precisions', options.precisions, ['float32', 'bf16']);
  const cases = [];
  for (const precision of precisions)
    for (const shape of shapes)
      for (let count = 1; count <= threads; count *= 2)
        cases.push(await measure(shape, precision, count, rounds));
  return { machine: machine(), unit: 'seconds', cases };
}
