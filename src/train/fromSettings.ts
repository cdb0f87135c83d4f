import { type DecoderConfig, type DecoderType, decoderConfig } from '../models/config.js';
import { type LearningRate, schedules } from './learningRate.js';
import { adam, adamw, type ClipSettings, type OptimizerSettings, sgd } from './optimizer.js';
import type { TrainSettings } from './settings.js';

/** The decoder that settings ask for. */
export const modelFrom = (settings: TrainSettings, vocabSize: number): DecoderConfig =>
  decoderConfig({ ...settings, modelType: settings.modelType as DecoderType | undefined, vocabSize });

export const sequenceLengthFrom = (settings: TrainSettings): number =>
  settings.sequenceLength ?? settings.maxPositionEmbeddings;

export const tokenizerFrom = ({ tokenizer, objective }: TrainSettings): string =>
  tokenizer ?? (objective === 'bag-of-words' ? 'words' : 'characters');

export function scheduleFrom(settings: TrainSettings): LearningRate {
  const { learningRate: peak, warmupSteps, decaySteps, schedule } = settings;
  // Decaying to a tenth of the peak is what Hoffmann et al. 2022 (arXiv:2203.15556) found best.
  const minimum = settings.minLearningRate ?? peak / 10;
  return schedules[schedule]({ peak, minimum, warmupSteps, decaySteps });
}

export function optimizerFrom(settings: TrainSettings): OptimizerSettings {
  const { optimizer, beta1, beta2, epsilon, weightDecay, momentum } = settings;
  const learningRate = scheduleFrom(settings);
  if (optimizer === 'sgd') return sgd({ learningRate, momentum, weightDecay });
  const options = { learningRate, beta1, beta2, epsilon, weightDecay };
  return optimizer === 'adam' ? adam(options) : adamw(options);
}

export function clipFrom({ clip, maxGradNorm, clipValue }: TrainSettings): ClipSettings {
  return { mode: clip, maximum: clip === 'value' ? clipValue : maxGradNorm };
}
