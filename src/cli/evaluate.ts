import * as v from 'valibot';
import { CheckpointError } from '../errors.js';
import { score } from '../evaluate/score.js';
import { TrainedModel } from '../evaluate/trainedModel.js';
import { choice, onOff, positiveInteger, text } from '../models/settingFields.js';
import type { Device } from '../runtime/session.js';
import { precisions } from '../shape/dtype.js';
import { objectiveEntries } from '../train/objectiveSettings.js';
import { dataEntries, runEntries } from '../train/settings.js';
import { openTask } from '../train/tasks.js';
import { trainedSettings } from '../train/trainedSettings.js';
import { defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { evaluateVectors } from './evaluateVectors.js';
import { openingEntries } from './opening.js';
import { metricCells } from './report.js';
import { formatNumber, formatTable } from './table.js';

const schema = v.strictObject({
  ...openingEntries,
  part: v.optional(choice(['train', 'valid', 'test'], 'Part of the data to score'), 'valid'),
  data: v.optional(text('Corpus, or file of rows', { defaultFrom: 'the one it was trained on' })),
  validData: objectiveEntries.validData,
  validSource: objectiveEntries.validSource,
  validTarget: objectiveEntries.validTarget,
  clean: v.optional(
    choice(['none', 'text8'], 'Cleaning before tokenising', { defaultFrom: 'as in training' }),
  ),
  split: v.optional(dataEntries.split.wrapped),
  batchSize: v.optional(positiveInteger('Rows scored at once', { unit: 'rows' }), 16),
  sequenceLength: v.optional(
    positiveInteger('Length of a row', { unit: 'tokens', defaultFrom: 'as in training' }),
  ),
  similarity: v.optional(text('Word pairs with a similarity each, to be compared with the vectors of words')),
  analogies: v.optional(text('Analogies in the format of questions-words.txt, for the vectors of words')),
  precision: v.optional(
    choice(precisions, 'What matrices, activations and the KV cache are', { defaultFrom: 'as in training' }),
  ),
  device: runEntries.device,
  threads: runEntries.threads,
  json: v.optional(onOff('Write one JSON object to standard output'), false),
});

export const evaluate = defineCommand({
  name: 'evaluate',
  summary: 'Scores a trained model by its objective: loss, perplexity, bits per character, accuracy, F1',
  example: 'heddle evaluate runs/book --part test',
  schema,
  positionals: ['model'],
  async run(settings, { signal, stdout, stderr }) {
    if (settings.similarity !== undefined || settings.analogies !== undefined)
      return evaluateVectors(settings, { stdout });
    const { model: folder, base, part, batchSize, device, threads, precision, json, ...others } = settings;
    const opening = { base, device: device as Device, threads, precision };
    await using trained = await TrainedModel.open(folder, opening);
    const known = trainedSettings(trained, others);
    const task = await openTask(known.settings, {
      tokenizer: trained.tokenizer,
      labelNames: known.labelNames,
      features: await trained.features(),
      vocabSize: trained.vocabSize,
      signal,
      onProgress: json ? undefined : dataProgress(stderr),
    });
    const { objective, data, vocabSize, tokenizer } = task;
    if (!objective.has(data, part)) {
      throw new CheckpointError(`there is no ${part} part; name its files, or another part with --part`);
    }
    const batches = objective.evaluation(data, part, { batchSize, seed: 0, vocabSize });
    const programs = await trained.load(objective, { batchSize, vocabSize });
    const started = performance.now();
    const found = await score(batches, programs, { signal });
    const tokensPerSecond = found.tokens / ((performance.now() - started) / 1000);
    const { skippedRows } = batches;
    if (json) {
      const event = { event: 'evaluation', part, data: data.name, ...found, tokensPerSecond };
      stdout.write(`${JSON.stringify(skippedRows > 0 ? { ...event, skippedRows } : event)}\n`);
      return;
    }
    const cells = metricCells(found, tokenizer.unit);
    const heads = ['part', 'targets', 'loss', ...cells.map(({ head }) => head)];
    const row = [part, formatNumber(found.tokens), found.loss.toFixed(4), ...cells.map(({ text }) => text)];
    stdout.write(`${objective.name} on ${data.name}\n\n${formatTable(heads, [row]).trimEnd()}\n`);
    if (skippedRows > 0)
      stderr.write(`note: ${skippedRows} rows longer than the longest bucket were left out\n`);
  },
});
