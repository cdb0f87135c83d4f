import { baseOf } from '../evaluate/trainedModel.js';
import { decayLearningRates, freeze } from '../models/fineTuning.js';
import type { Device } from '../runtime/session.js';
import { clipFrom, optimizerFrom } from '../train/fromSettings.js';
import { trainSettingsSchema } from '../train/settings.js';
import { openTask } from '../train/tasks.js';
import { Trainer } from '../train/trainer.js';
import { defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { jsonReport, textReport } from './report.js';
import { formatNumber } from './table.js';

export const train = defineCommand({
  name: 'train',
  summary: 'Trains a model on texts, pairs or labels, from scratch or on from a checkpoint',
  example:
    'heddle train --data book.txt --hidden-size 128 --num-hidden-layers 4 --max-steps 2000 --out runs/book',
  schema: trainSettingsSchema,
  async run(settings, { signal, stdout, stderr }) {
    const { batchSize, maxSteps, out } = settings;
    const onProgress = settings.json ? undefined : dataProgress(stderr);
    const base = settings.initFrom === undefined ? undefined : await baseOf(settings.initFrom);
    const { tokenizer, vocabSize: baseVocabSize } = base ?? {};
    const task = await openTask(settings, { tokenizer, vocabSize: baseVocabSize, signal, onProgress });
    const { objective, data, vocabSize } = task;
    const model = task.makeModel();
    if (settings.layerDecay < 1) decayLearningRates(model, settings.layerDecay);
    if (settings.freeze !== undefined) freeze(model, settings.freeze.split(','));
    const trainer = new Trainer({
      model,
      objective,
      data,
      vocabSize,
      optimizer: optimizerFrom(settings),
      clip: clipFrom(settings),
      recompute: settings.recompute,
      batchSize,
      maxSteps,
      gradientAccumulationSteps: settings.gradientAccumulationSteps,
      seed: settings.seed,
      precision: settings.precision,
      evalEvery: settings.evalEvery,
      evalBatches: settings.evalBatches,
      checkpointEvery: settings.checkpointEvery,
      earlyStoppingPatience: settings.earlyStoppingPatience,
      earlyStoppingMinGain: settings.earlyStoppingMinGain,
      maxSkippedSteps: settings.maxSkippedSteps,
      resume: settings.resume,
      out,
      device: settings.device as Device,
      threads: settings.threads,
      earlyStoppingMetric: settings.earlyStoppingMetric,
      initFrom: settings.initFrom,
      settings: task.settings,
      tf32: settings.tf32,
    });
    try {
      const report = settings.json
        ? jsonReport(stdout, settings.logEvery)
        : textReport(stdout, { maxSteps, out });
      if (!settings.json) {
        stdout.write(
          `${formatNumber(model.parameterCount())} parameters, ${task.size}, ` +
            `vocabulary of ${vocabSize}, on ${trainer.device}\n`,
        );
      }
      for await (const event of trainer.run({ signal })) report(event);
    } finally {
      await trainer.close();
    }
  },
});
