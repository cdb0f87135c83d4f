import test from 'ava';
import { ParameterMirror } from '#src/generate/parameterMirror.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import type { DecoderConfig } from '#src/models/config.js';
import { Decoder } from '#src/models/decoder.js';
import { fromConfigJson } from '#src/models/huggingFace.js';
import { parameterTable } from '#src/models/parameterTable.js';
import { causal } from '#src/objectives/causal.js';
import { encodeScalars } from '#src/ops/scalars.js';
import { LoadedProgram } from '#src/runtime/loadedProgram.js';
import { Session } from '#src/runtime/session.js';
import { sizeOf } from '#src/shape/shape.js';
import { adamw } from '#src/train/optimizer.js';
import { ProgramBuilder } from '#src/train/programs.js';
import { testDevice } from '../device.js';
import { readFixture } from './fixtures.js';

/** |a - b| / |b| of two vectors. */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

for (const name of ['gpt2', 'gpt2-smoothing', 'llama', 'llama-smoothing']) {
  test(`${name} in bf16 is near PyTorch's float32`, async (t) => {
    const { description, tensors } = await readFixture(name);
    const config = fromConfigJson(description) as DecoderConfig;
    const model = new Decoder(config);
    const table = parameterTable(model);
    const labelSmoothing = description.labelSmoothing as number;
    const builder = new ProgramBuilder(table, {
      model,
      objective: causal({ sequenceLength: 33, labelSmoothing }),
      vocabSize: config.vocabSize,
      rows: 3,
      optimizer: adamw(),
      clip: { mode: 'none', maximum: 1 },
      precision: 'bf16',
    });
    const session = Session.open({ device: testDevice, threads: 1 });
    try {
      const [program] = await LoadedProgram.load(session, [builder.build('first')]);
      const places = checkpointTensors(model, table);
      for (const place of places) {
        await session.write('parameters', place.offset, Float32Array.from(tensors.get(place.name)!.data));
      }
      await new ParameterMirror(session, table, 'bf16').refresh();
      for (const input of ['inputIds', 'targets']) program.input(input).set(tensors.get(input)!.data);
      await program.run(encodeScalars({}));

      const read = (offset: number, count: number) =>
        session.read('gradients', offset, new Float32Array(count));
      const { lossSum, tokenCount } = builder.slots;
      const count = (await read(tokenCount.offset, 1))[0];
      const loss = (await read(lossSum.offset, 1))[0] / count;
      const expected = tensors.get('loss')!.data[0];
      t.true(Math.abs(loss / expected - 1) < 1e-2, `loss ${loss}, not ${expected}`);
      for (const place of places) {
        const gradient = (await read(place.offset, sizeOf(place.shape))).map((value) => value / count);
        const apart = distance(gradient, tensors.get(`grad.${place.name}`)!.data);
        t.true(apart < 5e-2, `${place.name}: gradients are ${apart} of their length apart`);
      }
    } finally {
      await session.close();
    }
  });
}
