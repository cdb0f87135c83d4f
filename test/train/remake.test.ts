import test from 'ava';
import { randomText, TakenStep } from '#src/inspect/takenStep.js';
import { Decoder } from '#src/models/decoder.js';
import { causal } from '#src/objectives/causal.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { Session } from '#src/runtime/session.js';
import { adamw } from '#src/train/optimizer.js';
import { testDevice } from '../device.js';

const [vocabSize, sequenceLength, seed] = [37, 24, 7];

for (const precision of ['float32', 'bf16'] as const)
  for (const modelType of ['gpt2', 'llama'] as const)
    for (const dropout of [0, 0.1])
      test(`${modelType} in ${precision}, dropout ${dropout}: a step that makes values twice is the same to the last bit`, async (t) => {
        const model = new Decoder({
          modelType,
          vocabSize,
          hiddenSize: 40,
          numHiddenLayers: 2,
          numAttentionHeads: 2,
          maxPositionEmbeddings: sequenceLength,
          dropout,
        });
        const stepWith = async (remakeBytes: number) => {
          const taken = new TakenStep(
            {
              model,
              objective: causal({ sequenceLength }),
              data: randomText(vocabSize, 400, seed),
              vocabSize,
              batchSize: 3,
              optimizer: adamw({ learningRate: 1e-2 }),
              clip: { mode: 'norm', maximum: 1 },
              seed,
              precision,
            },
            'step',
            { remakeBytes },
          );
          const session = Session.open({ device: testDevice, threads: 1 });
          try {
            const loaded = await taken.load(session);
            for (let step = 0; step < 2; step++)
              await loaded.run(encodeScalars({ learningRate: 1e-2, seed, step, microStep: 0 }));
            const read = (arena: 'parameters' | 'gradients') =>
              session.read(arena, 0, new Uint8Array(taken.program.memory[arena]));
            const { instructions } = taken.program;
            return { instructions, parameters: await read('parameters'), gradients: await read('gradients') };
          } finally {
            await session.close();
          }
        };
        const [kept, again] = [await stepWith(Number.POSITIVE_INFINITY), await stepWith(0)];
        t.true(again.instructions > kept.instructions + 4);
        t.deepEqual(again.gradients, kept.gradients);
        t.deepEqual(again.parameters, kept.parameters);
      });
