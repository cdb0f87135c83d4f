import { spawnSync } from 'node:child_process';
import test from 'ava';
import { ConfigError, DataError, DeviceError, OutOfMemoryError } from '#src/errors.js';
import { runtimeInfo, Session } from '#src/runtime/session.js';
import { testDevice } from '../device.js';
import { addAndScale, encodeProgram, floats, inputsOf, scalarCount } from './programs.js';

const scalars = new Float64Array(scalarCount);
const ones = inputsOf(new Float32Array(64).fill(1));
const outputs = () => new Uint8Array(256);

async function opened(threads = 1): Promise<{ session: Session; program: number }> {
  const session = Session.open({ device: testDevice, threads });
  const [program] = await session.load([encodeProgram(addAndScale())]);
  return { session, program };
}

test('a run computes on the parameters and changes them', async (t) => {
  const { session, program } = await opened();
  await session.write('parameters', 0, new Float32Array(64).fill(3));
  const target = outputs();
  t.is(await session.run(program, ones, scalars, target), target);
  t.deepEqual(floats(target), new Float32Array(64).fill(8));
  t.deepEqual(await session.read('parameters', 0, new Float32Array(64)), new Float32Array(64).fill(4));
  t.deepEqual(await session.read('parameters', 252, new Float32Array(1)), Float32Array.of(4));
  await session.close();
});

test('runs, reads and writes take effect in the order of the calls, two runs queued at most', async (t) => {
  const { session, program } = await opened();
  const steps = [
    session.run(program, ones, scalars, outputs()),
    session.write('parameters', 0, new Float32Array(64).fill(10)),
    session.run(program, ones, scalars, outputs()),
    session.read('parameters', 0, new Float32Array(64)),
  ];
  await t.throwsAsync(session.run(program, ones, scalars, outputs()), {
    instanceOf: ConfigError,
    message: /two runs/,
  });
  const [first, , second, read] = await Promise.all(steps);
  t.is(floats(first!)[0], 2);
  t.is(floats(second!)[0], 22);
  t.is(floats(read!)[0], 11);
  await session.close();
});

test('inputs are copied before run returns', async (t) => {
  const { session, program } = await opened();
  const inputs = inputsOf(new Float32Array(64).fill(5));
  const run = session.run(program, inputs, scalars, outputs());
  inputs.fill(0);
  t.is(floats(await run)[7], 10);
  await session.close();
});

test('integers out of their declared range are refused', async (t) => {
  const { session, program } = await opened();
  for (const id of [10, -1, 2 ** 31 - 1]) {
    const inputs = inputsOf(new Float32Array(64), [0, 1, id, 2]);
    const run = session.run(program, inputs, scalars, outputs());
    await t.throwsAsync(run, { instanceOf: DataError, message: new RegExp(`element 2 .* is ${id} `) });
  }
  t.is(session.stats().runs, 0);
  await session.close();
});

test('blocks of a wrong size are refused', async (t) => {
  const { session, program } = await opened();
  await t.throwsAsync(session.run(program, ones.subarray(1), scalars, outputs()), { instanceOf: DataError });
  await t.throwsAsync(session.run(program, ones, scalars.subarray(1), outputs()), { instanceOf: DataError });
  await t.throwsAsync(session.run(program, ones, scalars, new Uint8Array(255)), { instanceOf: DataError });
  await t.throwsAsync(session.read('parameters', 4, new Float32Array(64)), { instanceOf: DataError });
  await t.throwsAsync(session.write('io', 2 ** 53 - 1, new Uint8Array(1)), { instanceOf: DataError });
  await session.close();
});

test('a program that does not fit is an OutOfMemoryError, and the session goes on', async (t) => {
  const { session, program } = await opened();
  const text = addAndScale();
  text.arenas.activations = { bytes: 2 ** 49 };
  const error = await t.throwsAsync(session.load([encodeProgram(text)]), { instanceOf: OutOfMemoryError });
  t.is(error?.fields.needed, 2 ** 49);
  t.true((error?.fields.free as number) > 0);
  t.is(floats(await session.run(program, ones, scalars, outputs()))[0], 2);
  await session.close();
});

test('programs loaded later share the parameters and must agree on their layout', async (t) => {
  const { session, program } = await opened();
  await session.run(program, ones, scalars, outputs());
  const other = addAndScale(64, 3);
  const [tripling] = await session.load([encodeProgram(other)]);
  t.is(floats(await session.run(tripling, ones, scalars, outputs()))[0], 6);
  other.arenas.parameters = { bytes: 256, layout: 8n };
  await t.throwsAsync(session.load([encodeProgram(other)]), {
    instanceOf: ConfigError,
    message: /parameters/,
  });
  await session.close();
});

test('large reads and writes go in pieces', async (t) => {
  const size = 5 << 20;
  const session = Session.open({ device: testDevice, threads: 1 });
  await session.load([encodeProgram(addAndScale(size))]);
  const values = Float32Array.from({ length: size }, (_, index) => index % 1021);
  await session.write('parameters', 0, values);
  const found = await session.read('parameters', 0, new Float32Array(size));
  t.true(values.every((value, index) => value === found[index]));
  t.is(session.stats().arenas.parameters, 4 * size);
  await session.close();
});

test('results do not depend on the number of threads', async (t) => {
  const size = 100_003;
  const inputs = inputsOf(Float32Array.from({ length: size }, (_, index) => Math.sin(index)));
  const results: Uint8Array[] = [];
  for (const threads of [1, 2, 5]) {
    const session = Session.open({ device: testDevice, threads });
    const [program] = await session.load([encodeProgram(addAndScale(size))]);
    for (let step = 0; step < 3; step++) {
      results.push(await session.run(program, inputs, scalars, new Uint8Array(4 * size)));
    }
    await session.close();
  }
  for (let index = 3; index < results.length; index++)
    t.is(Buffer.compare(results[index], results[index % 3]), 0);
});

test('two sessions work at once', async (t) => {
  const sessions = await Promise.all([opened(2), opened(2)]);
  for (let step = 1; step <= 200; step++) {
    const runs = sessions.map(({ session, program }) => session.run(program, ones, scalars, outputs()));
    for (const result of await Promise.all(runs)) t.is(floats(result)[63], 2 * step);
  }
  await Promise.all(sessions.map(({ session }) => session.close()));
});

test('close finishes what is queued; afterwards everything is refused', async (t) => {
  const { session, program } = await opened();
  const runs = [
    session.run(program, ones, scalars, outputs()),
    session.run(program, ones, scalars, outputs()),
  ];
  const closed = session.close();
  t.is(session.close(), closed);
  await t.throwsAsync(session.run(program, ones, scalars, outputs()), {
    instanceOf: ConfigError,
    message: /closed/,
  });
  t.is(floats((await Promise.all(runs))[1])[0], 4);
  await closed;
  await t.throwsAsync(session.read('parameters', 0, new Uint8Array(4)), { message: /closed/ });
  await t.throwsAsync(session.load([]), { message: /closed/ });
  t.throws(() => session.stats(), { instanceOf: ConfigError });
  session[Symbol.dispose]();
});

test('outputs that were transferred away reject', async (t) => {
  const { session, program } = await opened();
  const target = outputs();
  const run = session.run(program, ones, scalars, target);
  structuredClone(target, { transfer: [target.buffer] });
  await t.throwsAsync(run, { instanceOf: DataError, message: /transferred/ });
  await session.close();
});

test('profile gives the time of each instruction', async (t) => {
  const { session, program } = await opened();
  const seconds = await session.profile(program, ones, scalars, outputs());
  t.is(seconds.length, 3);
  t.true(seconds.every((value) => value >= 0 && value < 1));
  await session.close();
});

test('stats and info say what is in use', async (t) => {
  const { session } = await opened(3);
  const stats = session.stats();
  t.is(stats.device, testDevice === 'cpu' ? 'cpu' : 'cuda');
  t.is(stats.workers, testDevice === 'cpu' ? 3 : 1);
  t.is(stats.arenas.parameters, 256);
  const info = runtimeInfo();
  if (testDevice === 'cpu') {
    t.true(info.isas.includes(stats.isa));
    t.is(info.isa, stats.isa);
  } else t.regex(stats.isa, /^sm_\d+$/);
  t.true(info.cores >= 1 && info.freeMemory > 0);
  t.true(info.cuda.available || info.cuda.reason.length > 0);
  await session.close();
  if (!info.cuda.available) {
    t.throws(() => Session.open({ device: 'cuda' }), { instanceOf: DeviceError, message: /cuda/ });
    const automatic = Session.open();
    t.regex(automatic.stats().reason, /CUDA is not in use/);
    await automatic.close();
  }
});

test('HEDDLE_ISA chooses the kernels, and says why it cannot', (t) => {
  const script = `const { runtimeInfo } = await import(${JSON.stringify(import.meta.resolve('#src/runtime/session.js'))});
    try { console.log(runtimeInfo().isa) } catch (error) { console.log(error.name, error.message) }`;
  const say = (isa: string) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, HEDDLE_ISA: isa },
      encoding: 'utf8',
    }).stdout.trim();
  t.is(say('baseline'), 'baseline');
  t.regex(say('sse5'), /^ConfigError HEDDLE_ISA is sse5 but the addon was built with baseline/);
});

test.serial('20,000 runs with two queued keep no JavaScript memory', async (t) => {
  const { session, program } = await opened();
  const target = outputs();
  const spare = outputs();
  const steps = async (count: number) => {
    let earlier = session.run(program, ones, scalars, target);
    for (let step = 1; step < count; step++) {
      const later = session.run(program, ones, scalars, step % 2 ? spare : target);
      await earlier;
      earlier = later;
    }
    await earlier;
  };
  await steps(5000);
  const before = process.memoryUsage();
  const kernel = session.stats().kernelSeconds;
  const start = performance.now();
  await steps(20_000);
  const microseconds =
    (1000 * (performance.now() - start) - 1e6 * (session.stats().kernelSeconds - kernel)) / 20_000;
  const after = process.memoryUsage();
  t.log(
    `${microseconds.toFixed(1)} us of overhead a run; external ${after.external - before.external} bytes`,
  );
  t.true(after.external - before.external < 1 << 20);
  t.is(session.stats().runs, 25_000);
  await session.close();
});
