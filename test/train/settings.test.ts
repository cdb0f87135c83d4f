import test from 'ava';
import * as v from 'valibot';
import {
  clipFrom,
  modelFrom,
  optimizerFrom,
  scheduleFrom,
  sequenceLengthFrom,
} from '#src/train/fromSettings.js';
import { trainSettingsSchema } from '#src/train/settings.js';

const settings = (given: Record<string, unknown>) => v.parse(trainSettingsSchema, given);

test('what is not given follows from the family and from other settings', (t) => {
  t.like(modelFrom(settings({ hiddenSize: 128 }), 65), {
    vocabSize: 65,
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    hiddenAct: 'gelu_new',
    tieWordEmbeddings: true,
    bias: true,
    intermediateSize: 512,
    numKeyValueHeads: 4,
    headDim: 32,
  });
  t.like(
    modelFrom(
      settings({ modelType: 'llama', hiddenSize: 128, numKeyValueHeads: 2, dropout: 0.1, attnPdrop: 0 }),
      65,
    ),
    {
      positionEmbedding: 'rotary',
      normalization: 'rmsNorm',
      hiddenAct: 'swiglu',
      tieWordEmbeddings: false,
      bias: false,
      intermediateSize: 384,
      numKeyValueHeads: 2,
      embdPdrop: 0.1,
      residPdrop: 0.1,
      attnPdrop: 0,
    },
  );
  t.is(sequenceLengthFrom(settings({ maxPositionEmbeddings: 128 })), 128);
  t.is(sequenceLengthFrom(settings({ maxPositionEmbeddings: 128, sequenceLength: 32 })), 32);
});

test('what is given stays', (t) => {
  const given = {
    modelType: 'gpt2',
    positionEmbedding: 'rotary',
    bias: false,
    layerNormEps: 1e-3,
    intermediateSize: 100,
  };
  t.like(modelFrom(settings(given), 10), given);
});

test('optimizer, clipping and schedule take their settings', (t) => {
  t.like(optimizerFrom(settings({ beta2: 0.99 })), {
    name: 'adamw',
    beta1: 0.9,
    beta2: 0.99,
    weightDecay: 0.1,
  });
  t.like(optimizerFrom(settings({ optimizer: 'sgd', momentum: 0.5 })), { name: 'sgd', momentum: 0.5 });
  t.deepEqual(clipFrom(settings({ clip: 'value', clipValue: 3 })), { mode: 'value', maximum: 3 });
  t.deepEqual(clipFrom(settings({ clip: 'rescale', maxGradNorm: 2 })), { mode: 'rescale', maximum: 2 });
  const rate = scheduleFrom(
    settings({ learningRate: 1, minLearningRate: 0.5, warmupSteps: 9, schedule: 'linear' }),
  );
  t.is(rate(0, 109), 0.1);
  t.is(rate(9, 109), 1);
  t.is(rate(59, 109), 0.75);
  t.is(rate(109, 109), 0.5);
});
