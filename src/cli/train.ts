import { textData } from '../data/textData.js';
import { Decoder } from '../models/decoder.js';
import { causal } from '../objectives/causal.js';
import type { Device } from '../runtime/session.js';
import {
  clipFrom,
  dataSettings,
  modelFrom,
  optimizerFrom,
  sequenceLengthFrom,
} from '../train/fromSettings.js';
import { trainSettingsSchema } from '../train/settings.js';
import { Trainer } from '../train/trainer.js';
import { defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { jsonReport, textReport } from './report.js';
import { formatNumber } from './table.js';

export const train = defineCommand({
  name: 'train',
  summary: 'Trains a language model on a text, from scratch or on from a checkpoint',
  example:
    'heddle train --data book.txt --hidden-size 128 --num-hidden-layers 4 --max-steps 2000 --out runs/book',
  schema: trainSettingsSchema,
  async run(settings, { signal, stdout, stderr }) {
    const { tokenizer, vocabSize, minCount, clean, split, batchSize, maxSteps, out } = settings;
    const onProgress = settings.json ? undefined : dataProgress(stderr);
    const building = { tokenizer, vocabSize, minCount, clean, split };
    const data = await textData(settings.data, { ...building, signal, onProgress });
    const model = new Decoder(modelFrom(settings, data.tokenizer.vocabSize));
    const trainer = new Trainer({
      model,
      objective: causal({
        sequenceLength: sequenceLengthFrom(settings),
        labelSmoothing: settings.labelSmoothing,
      }),
      data,
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
      settings: dataSettings(settings),
    });
    try {
      const report = settings.json
        ? jsonReport(stdout, settings.logEvery)
        : textReport(stdout, { maxSteps, out });
      if (!settings.json) {
        stdout.write(
          `${formatNumber(model.parameterCount())} parameters, ${formatNumber(data.source.count)} tokens of ${settings.data}, ` +
            `vocabulary of ${data.tokenizer.vocabSize}, on ${trainer.device}\n`,
        );
      }
      for await (const event of trainer.run({ signal })) report(event);
    } finally {
      await trainer.close();
    }
  },
});
