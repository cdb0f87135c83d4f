import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import test from 'ava';

// 200 by hand: HEDDLE_WORKERS=200 npx ava dist-test/test/runtime/lifetime.test.js
const workers = Number(process.env.HEDDLE_WORKERS ?? 20);

const imports = `
  const { Session } = await import(${JSON.stringify(import.meta.resolve('#src/runtime/session.js'))});
  const programs = await import(${JSON.stringify(new URL('./programs.js', import.meta.url).href)});
  const { addAndScale, encodeProgram, inputsOf, scalarCount } = programs;
`;
/** Opens a session and queues two steps that take long enough to be met in the middle. */
const busy = `${imports}
  const size = 1 << 16;
  const session = Session.open({ device: 'cpu', threads: 2 });
  const [program] = await session.load([encodeProgram(addAndScale(size, 2, 3000))]);
  const inputs = inputsOf(new Float32Array(size));
  const step = () => session.run(program, inputs, new Float64Array(scalarCount), new Uint8Array(4 * size));
  const pending = [step(), step()];
`;

interface Ending {
  code: number | null;
  signal: string | null;
  output: string;
  seconds: number;
}

async function runScript(script: string): Promise<Ending> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  child.stderr.on('data', (data) => {
    output += data;
  });
  const start = performance.now();
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, output, seconds: (performance.now() - start) / 1000 };
}

test(`${workers} workers are terminated in mid-step`, async (t) => {
  const script = `
    import { Worker } from 'node:worker_threads';
    const source = ${JSON.stringify(`(async () => {${busy}
      (await import('node:worker_threads')).parentPort.postMessage('running');
      for (;;) { await pending.shift(); pending.push(step()); }
    })()`)};
    for (let index = 0; index < ${workers}; index++) {
      const worker = new Worker(source, { eval: true });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await new Promise((resolve) => setTimeout(resolve, index % 5));
      await worker.terminate();
    }
    console.log('all ended');
  `;
  const { code, signal, output } = await runScript(script);
  t.deepEqual([code, signal, output], [0, null, 'all ended\n']);
});

test('process.exit with runs in flight ends at once', async (t) => {
  for (const delay of [0, 1, 5]) {
    const script = `${busy} setTimeout(() => process.exit(7), ${delay});`;
    const { code, signal, output, seconds } = await runScript(script);
    t.deepEqual([code, signal, output], [7, null, '']);
    t.true(seconds < 15, `${seconds} s`);
  }
});

test('process.exit from the continuation of a run', async (t) => {
  const { code, signal } = await runScript(`${busy} pending[0].then(() => process.exit(3));`);
  t.deepEqual([code, signal], [3, null]);
});

test('a throw with runs in flight ends with its own error', async (t) => {
  const { code, signal, output } = await runScript(`${busy} throw new Error('of the user');`);
  t.deepEqual([code, signal], [1, null]);
  t.regex(output, /of the user/);
});

test('an idle session keeps no process alive, a pending run does', async (t) => {
  const idle = await runScript(`${imports} globalThis.session = Session.open({ threads: 2 });
    await session.load([encodeProgram(addAndScale())]); console.log('idle');`);
  t.deepEqual([idle.code, idle.output], [0, 'idle\n']);
  const pending = await runScript(`${busy} pending[1].then(() => console.log('both done'));`);
  t.deepEqual([pending.code, pending.output], [0, 'both done\n']);
});

test('a session that is dropped is collected with its memory', async (t) => {
  const script = `${imports}
    import v8 from 'node:v8';
    v8.setFlagsFromString('--expose-gc');
    const collect = (await import('node:vm')).runInNewContext('gc');
    for (let index = 0; index < 40; index++) {
      const session = Session.open({ threads: 2 });
      const size = 1 << 20;
      const [program] = await session.load([encodeProgram(addAndScale(size))]);
      await session.run(program, inputsOf(new Float32Array(size)), new Float64Array(scalarCount), new Uint8Array(4 * size));
      collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(process.memoryUsage().rss < 600e6);
  `;
  const { code, output } = await runScript(script);
  t.deepEqual([code, output], [0, 'true\n']);
});

test('resident memory is flat over 20,000 runs', async (t) => {
  const script = `${imports}
    const session = Session.open({ threads: 1 });
    const [program] = await session.load([encodeProgram(addAndScale())]);
    const [inputs, outputs, scalars] = [inputsOf(new Float32Array(64)), new Uint8Array(256), new Float64Array(scalarCount)];
    const steps = async (count) => {
      for (let step = 0; step < count; step++) await session.run(program, inputs, scalars, outputs);
      return process.memoryUsage().rss;
    };
    await steps(20000);
    const before = await steps(1);
    console.log((await steps(20000)) - before);
  `;
  const { code, output } = await runScript(script);
  t.is(code, 0);
  t.log(`${Number(output) / 1024} KiB more`);
  t.true(Number(output) < 4 << 20);
});

test('a worker of this process uses its own session', async (t) => {
  const source = `(async () => {${imports}
    const session = Session.open({ threads: 1 });
    const [program] = await session.load([encodeProgram(addAndScale())]);
    const inputs = inputsOf(new Float32Array(64).fill(1));
    const result = await session.run(program, inputs, new Float64Array(scalarCount), new Float32Array(64));
    (await import('node:worker_threads')).parentPort.postMessage(result[0]);
  })()`;
  const results = [1, 2, 3].map(async () => {
    const worker = new Worker(source, { eval: true });
    const [value] = await once(worker, 'message');
    await once(worker, 'exit');
    return value;
  });
  t.deepEqual(await Promise.all(results), [2, 2, 2]);
});
