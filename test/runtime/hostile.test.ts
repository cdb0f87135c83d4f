import test from 'ava';
import { HeddleError } from '#src/errors.js';
import { RandomStream } from '#src/random/stream.js';
import { Session } from '#src/runtime/session.js';
import { testDevice } from '../device.js';
import { addAndScale, encodeProgram, inputsOf, scalarCount } from './programs.js';

const count = Number(process.env.HEDDLE_FUZZ ?? 2000);
const arenaFields = 32; // where the header's arena sizes begin, 16 bytes apart
const largest = 1n << 22n;

test(`${count} mutated programs load, or are refused with a reason, and run`, async (t) => {
  const valid = encodeProgram(addAndScale());
  const random = new RandomStream(7);
  const below = (limit: number) => random.word() % limit;
  let accepted = 0;
  let refused = 0;
  let session = Session.open({ device: testDevice, threads: 1 });
  for (let index = 0; index < count; index++) {
    const bytes = valid.slice(0, index % 10 === 9 ? below(valid.length) : valid.length);
    for (let edit = below(3); edit >= 0 && bytes.length > 0; edit--) {
      bytes[below(bytes.length)] = index % 2 ? below(256) : [0, 1, 2, 4, 64, 128, 255][below(7)];
    }
    // Sizes that are merely large would be granted: the machine has them.
    const view = new DataView(bytes.buffer);
    if (bytes.length === valid.length) {
      for (let arena = 0; arena < 8; arena++) {
        const size = view.getBigUint64(arenaFields + 16 * arena, true);
        if (size > largest && size < 1n << 45n) view.setBigUint64(arenaFields + 16 * arena, largest, true);
      }
    }
    try {
      const [program] = await session.load([bytes]);
      accepted++; // what then keeps it from running is the size of its inputs or outputs
      await session.run(
        program,
        inputsOf(new Float32Array(64)),
        new Float64Array(scalarCount),
        new Uint8Array(256),
      );
    } catch (error) {
      if (!(error instanceof HeddleError)) throw error;
      refused++;
    }
    if (index % 200 === 199) {
      await session.close();
      session = Session.open({ device: testDevice, threads: 1 });
    }
  }
  await session.close();
  t.log(`${accepted} loaded; ${refused} refused by load or run`);
  t.true(accepted > 0 && refused > count / 4);
});
