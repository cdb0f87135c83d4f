import test from 'ava';
import * as v from 'valibot';
import { completeTrainSettings, trainSettingsSchema } from '#src/train/settings.js';

const complete = (given: Record<string, unknown>) =>
  completeTrainSettings(v.parse(trainSettingsSchema, given));

test('what is not given follows from the family and from other settings', (t) => {
  t.like(complete({ hiddenSize: 128 }), {
    positionEmbedding: 'learned',
    normalization: 'layerNorm',
    hiddenAct: 'gelu_new',
    tieWordEmbeddings: true,
    bias: true,
    intermediateSize: 512,
    numKeyValueHeads: 4,
    headDim: 32,
    sequenceLength: 64,
    minLearningRate: 1e-4,
    decaySteps: 1900,
    attnPdrop: 0,
  });
  t.like(
    complete({
      modelType: 'llama',
      hiddenSize: 4096,
      numAttentionHeads: 32,
      numKeyValueHeads: 8,
      dropout: 0.1,
    }),
    {
      positionEmbedding: 'rotary',
      normalization: 'rmsNorm',
      hiddenAct: 'swiglu',
      tieWordEmbeddings: false,
      bias: false,
      intermediateSize: 10944, // 8/3 of 4096 is 10922.7
      numKeyValueHeads: 8,
      headDim: 128,
      residPdrop: 0.1,
    },
  );
  t.like(complete({ schedule: 'warmup-stable-decay', maxSteps: 1000 }), { decaySteps: 200 });
  t.like(complete({ maxSteps: 50 }), { decaySteps: 1 });
});

test('what is given stays', (t) => {
  const given = {
    modelType: 'llama',
    bias: true,
    dropout: 0.2,
    attnPdrop: 0,
    intermediateSize: 10,
    sequenceLength: 32,
    minLearningRate: 0,
  };
  t.like(complete(given), { ...given, embdPdrop: 0.2 });
});

test('every value is set but the number of threads', (t) => {
  const missing = Object.entries(complete({})).filter(([, value]) => value === undefined);
  t.deepEqual(missing, []);
  t.deepEqual(
    Object.keys(trainSettingsSchema.entries).filter((name) => !(name in complete({}))),
    ['threads'],
  );
});
