import test from 'ava';
import { HeddleError } from '#src/errors.js';
import { addon } from '#src/runtime/addon.js';
import { addAndScale, encodeProgram, inputsOf, scalarCount } from './programs.js';

const detached = new Uint8Array(272);
structuredClone(detached, { transfer: [detached.buffer] });
// Beyond the library that the sources are compiled against.
const Resizable = ArrayBuffer as unknown as new (
  length: number,
  options: { maxByteLength: number },
) => ArrayBuffer & { resize(length: number): void };
const resizable = new Resizable(272, { maxByteLength: 512 });
const shrunk = new Uint8Array(resizable, 200, 72);
resizable.resize(100);

const bad: readonly unknown[] = [
  undefined,
  null,
  true,
  0,
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 31,
  2 ** 53,
  1e300,
  '',
  'parameters',
  'x'.repeat(1 << 20),
  10n,
  Symbol('s'),
  () => 1,
  class {},
  {},
  Object.create(null),
  { length: 3 },
  [],
  [[]],
  [new Uint8Array(0)],
  [new Uint8Array(400).fill(0xff)],
  new Array(5000),
  new ArrayBuffer(8),
  new SharedArrayBuffer(272),
  new Uint8Array(new SharedArrayBuffer(272)),
  new Uint8Array(0),
  new Float64Array(scalarCount),
  new BigUint64Array(4),
  new DataView(new ArrayBuffer(16)),
  detached,
  shrunk,
  new Date(),
  /x/,
  new Map(),
  new Proxy({}, {}),
  new Proxy([], {}),
  Promise.resolve(1),
  new Proxy([1], {
    get: () => {
      throw new Error('trap');
    },
  }),
];

async function refused(call: () => unknown): Promise<boolean> {
  try {
    await call();
    return false;
  } catch (error) {
    if (!(error instanceof Error)) throw new Error(`rejected with ${String(error)}`);
    return true;
  }
}

test('every export takes every bad value with nothing worse than an exception', async (t) => {
  const native = addon();
  const session = new native.Session({ threads: 1 });
  const [program] = await session.load([encodeProgram(addAndScale())]);
  const good = {
    load: [[]],
    run: [program, inputsOf(new Float32Array(64)), new Float64Array(scalarCount), new Uint8Array(256)],
    profile: [program, inputsOf(new Float32Array(64)), new Float64Array(scalarCount), new Uint8Array(256)],
    read: ['parameters', 0, new Uint8Array(4)],
    write: ['parameters', 0, new Uint8Array(4)],
    stats: [],
    close: [],
  } as const;
  let calls = 0;
  let refusals = 0;
  for (const [name, args] of Object.entries(good)) {
    if (name === 'close') continue;
    const method = (session as unknown as Record<string, (...args: unknown[]) => unknown>)[name];
    for (let position = 0; position <= args.length; position++) {
      for (const value of bad) {
        const changed: unknown[] = [...args];
        changed[position] = value;
        calls++;
        if (await refused(() => method.apply(session, changed))) refusals++;
      }
    }
    for (const receiver of bad) {
      calls++;
      t.true(await refused(() => method.apply(receiver, [...args])), name);
    }
  }
  for (const value of bad) {
    calls++;
    if (await refused(() => new native.Session(value as never).close())) refusals++;
    if (await refused(() => new native.Session({ device: value } as never).close())) refusals++;
    if (await refused(() => new native.Session({ threads: value } as never).close())) refusals++;
    t.true(await refused(() => (native.Session as unknown as (value: unknown) => unknown)(value)));
    native.info.call(value as never);
  }
  t.true(refusals > calls / 2, `${refusals} of ${calls} refused`);
  await session.run(program, good.run[1], good.run[2], good.run[3]);
  await session.close();
});

test('arguments that run JavaScript cannot pull the session from under a call', async (t) => {
  const native = addon();
  const session = new native.Session({ threads: 1 });
  const bytes = encodeProgram(addAndScale());
  const closing = [bytes];
  Object.defineProperty(closing, 0, {
    get: () => {
      void session.close();
      return bytes;
    },
  });
  t.true(await refused(() => session.load(closing)));
  const other = new native.Session({ threads: 1 });
  const [program] = await other.load([bytes]);
  // Settling a promise looks for `then` on the value: close and queue more from there.
  const outputs = new Uint8Array(256);
  let looked = 0;
  Object.defineProperty(outputs, 'then', {
    get: () => {
      looked++;
      void other.close();
      return undefined;
    },
  });
  const scalars = new Float64Array(scalarCount);
  const inputs = inputsOf(new Float32Array(64));
  const last = other.run(program, inputs, scalars, new Uint8Array(256));
  await other.run(program, inputs, scalars, outputs);
  await last;
  t.true(looked > 0);
  t.true(await refused(() => other.run(program, inputs, scalars, outputs)));
});

test('a subclass and an instance of it work; errors are of our classes', async (t) => {
  const native = addon();
  const session = new (class extends native.Session {})({ threads: 1 });
  t.deepEqual(await session.load([]), []);
  await session.close();
  const { Session } = await import('#src/runtime/session.js');
  for (const options of [{ threads: 0 }, { threads: 1.5 }, { device: 'tpu' }, 7, null]) {
    t.throws(() => Session.open(options as never), { instanceOf: HeddleError });
  }
});
