// Greedy generation, one row: each token reads every weight once, so memory sets its speed.
import { Generator } from '#src/generate/generate.js';
import type { Precision } from '#src/shape/dtype.js';
import { Stepper } from '#src/train/stepper.js';
import { type BenchOptions, chosenNames, chosenOf } from './commandLine.js';
import { machine, median, spreadOf } from './machine.js';
import { measuredBandwidth } from './peers/compiled.js';
import { caseOptions, type TrainingCase, trainingCases } from './trainingCase.js';

const defaultRounds = 5;

/** Without a choice the largest case. `share` is of the tokens that reading the weights alone would leave time for. */
export async function benchGenerate(options: BenchOptions) {
  const shapes = chosenOf('cases', options.cases, trainingCases, ['d512']);
  const precisions = chosenNames<Precision>('precisions', options.precisions, ['float32', 'bf16']);
  const cases = [];
  for (const precision of precisions)
    for (const shape of shapes) cases.push(await measure(shape, precision, options));
  return { machine: machine(), unit: 'tokens/s', cases };
}

async function measure(shape: TrainingCase, precision: Precision, options: BenchOptions) {
  const { threads, rounds = defaultRounds } = options;
  const { sequenceLength } = shape;
  const setting = caseOptions(shape, { threads, precision });
  const stepper = new Stepper(setting);
  try {
    await stepper.load();
    const { session, table } = stepper;
    const { model, data } = setting;
    const generator = new Generator(session, model, table, data.tokenizer, sequenceLength, precision);
    const matrices = table.entries.filter(
      ({ name, parameter }) => parameter.shape.length === 2 && name !== 'positions.weight',
    );
    const elements = matrices.reduce(
      (
        sum,
        {
          parameter: {
            shape: [rows, columns],
          },
        },
      ) => sum + rows * columns,
      0,
    );
    const weightBytes = elements * (precision === 'bf16' ? 2 : 4);
    const rates: number[] = [];
    const bandwidths: number[] = [];
    for (let round = 0; round < rounds; round++) {
      rates.push(...(await tokenRates(generator, sequenceLength)));
      const found = await measuredBandwidth(threads, weightBytes);
      if ('gigabytesPerSecond' in found) bandwidths.push(...found.gigabytesPerSecond);
    }
    const bandwidth = bandwidths.length ? spreadOf(bandwidths) : undefined;
    const roof = bandwidth && (1e9 * bandwidth.median) / weightBytes;
    return {
      name: shape.name,
      precision,
      threads,
      weightBytes,
      ours: spreadOf(rates),
      readGigabytesPerSecond: bandwidth ?? { absent: 'needs a C++ compiler (apt-get install g++)' },
      ...(roof && { bandwidthTokensPerSecond: roof, share: median(rates) / roof }),
    };
  } finally {
    await stepper.session.close();
  }
}

/** Tokens a second over each tenth of a context, without the first token, which reads the prompt. */
async function tokenRates(generator: Generator, sequenceLength: number): Promise<number[]> {
  const part = Math.floor((sequenceLength - 2) / 10);
  const rates: number[] = [];
  let started = 0;
  let made = 0;
  const options = { temperature: 0, maxNewTokens: 1 + 10 * part };
  for await (const _ of generator.generateTokens([1], options)) {
    if (made > 0 && made % part === 0) rates.push(part / ((performance.now() - started) / 1000));
    if (made % part === 0) started = performance.now();
    made++;
  }
  return rates;
}
