import * as v from 'valibot';
import { cleanRow } from '../data/cleaning.js';
import { memoryRows } from '../data/rows.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { TrainedModel } from '../evaluate/trainedModel.js';
import { onOff, text } from '../models/settingFields.js';
import { encodeScalars } from '../ops/scalars.js';
import type { Device } from '../runtime/session.js';
import { runEntries } from '../train/settings.js';
import { classifierFor } from '../train/tasks.js';
import { trainedSettings } from '../train/trainedSettings.js';
import { defineCommand } from './commandLine.js';
import { openingEntries } from './opening.js';

const schema = v.strictObject({
  ...openingEntries,
  text: v.optional(text('Text to classify', { defaultFrom: 'each line of standard input' })),
  device: runEntries.device,
  threads: runEntries.threads,
  json: v.optional(onOff('Write one JSON object a text'), false),
});

/** exp of logits, divided by their sum. */
function softmax(logits: Float32Array): number[] {
  const greatest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - greatest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

async function* inputLines(given: string | undefined): AsyncGenerator<string> {
  if (given !== undefined) {
    yield given;
    return;
  }
  let begun = '';
  process.stdin.setEncoding('utf8');
  for await (const piece of process.stdin) {
    const lines = `${begun}${piece}`.split(/\r?\n/);
    begun = lines.pop()!;
    yield* lines;
  }
  if (begun !== '') yield begun;
}

export const classify = defineCommand({
  name: 'classify',
  summary: 'Says the label of a text, with its probability',
  example: "heddle classify runs/sentiment --text 'a charming film'",
  schema,
  positionals: ['model'],
  async run({ model: folder, base, text: given, device, threads, json }, { signal, stdout }) {
    await using trained = await TrainedModel.open(folder, { base, device: device as Device, threads });
    const { settings, labelNames } = trainedSettings(trained);
    if (!['classification', 'bag-of-words'].includes(settings.objective) || !labelNames) {
      throw new CheckpointError(
        `${folder} was trained for the objective ${settings.objective}; classify needs one trained with --objective classification or bag-of-words`,
      );
    }
    const { tokenizer, vocabSize } = trained;
    const encoders = { tokenizer, features: await trained.features() };
    const { objective } = classifierFor(settings, encoders, labelNames.length);
    const programs = await trained.load(objective as never, { batchSize: 1, vocabSize });
    if (given === undefined && process.stdin.isTTY)
      throw new ConfigError('give a text with --text, or lines on standard input');
    for await (const line of inputLines(given)) {
      signal.throwIfAborted();
      const rows = {
        rows: memoryRows([tokenizer.encode(cleanRow(line, settings.clean))], tokenizer.vocabSize),
        labels: Int32Array.of(0),
      };
      const data = { name: 'input', tokenizer, labelNames, parts: { test: rows } };
      const batch = objective.evaluation(data, 'test', { batchSize: 1, seed: 0, vocabSize }).batchAt(0);
      const program = programs[batch.bucket];
      program.fill(batch.arrays);
      const probabilities = softmax((await program.run(encodeScalars({}))).get('logits'));
      const best = probabilities.indexOf(Math.max(...probabilities));
      const all = Object.fromEntries(labelNames.map((name, index) => [name, probabilities[index]]));
      const answer = {
        text: line,
        label: labelNames[best],
        probability: probabilities[best],
        probabilities: all,
      };
      stdout.write(
        json ? `${JSON.stringify(answer)}\n` : `${answer.label}\t${answer.probability.toFixed(4)}\t${line}\n`,
      );
    }
  },
});
