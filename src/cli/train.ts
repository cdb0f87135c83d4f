import { trainableCount } from '../models/fineTuning.js';
import type { Device } from '../runtime/session.js';
import { clipFrom, optimizerFrom } from '../train/fromSettings.js';
import { openRun } from '../train/openRun.js';
import { trainSettingsSchema } from '../train/settings.js';
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
  async run(asked, { signal, stdout, stderr, given }) {
    const { initFrom, batchSize, maxSteps, out } = asked;
    const onProgress = asked.json ? undefined : dataProgress(stderr);
    const { settings, task, model } = await openRun(asked, given, { signal, onProgress });
    const { objective, data, vocabSize } = task;
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
      initFrom,
      settings: task.settings,
      tf32: settings.tf32,
    });
    try {
      const report = settings.json
        ? jsonReport(stdout, settings.logEvery)
        : textReport(stdout, { maxSteps, out });
      if (!settings.json) {
        const [all, trained] = [model.parameterCount(), trainableCount(model)].map(formatNumber);
        stdout.write(
          `${all} parameters, ${trained === all ? '' : `${trained} of them trained, `}${task.size}, ` +
            `vocabulary of ${vocabSize}, on ${trainer.device}\n`,
        );
      }
      for await (const event of trainer.run({ signal })) report(event);
    } finally {
      await trainer.close();
    }
  },
});
