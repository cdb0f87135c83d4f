import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { runtimeInfo } from '#src/runtime/session.js';

const script = fileURLToPath(new URL('./checkAll.js', import.meta.url));

// The instruction set is chosen once a process, so every other one that this machine has takes a process of its own.
const { isa, isas } = runtimeInfo();
for (const other of isas.filter((name) => name !== isa)) {
  test.serial(`kernels for ${other}`, async (t) => {
    const env = { ...process.env, HEDDLE_ISA: other };
    const { stdout } = await promisify(execFile)(process.execPath, [script], { env, maxBuffer: 1 << 24 });
    const { isa: used, complaints } = JSON.parse(stdout);
    t.is(used, other);
    t.deepEqual(complaints, []);
  });
}
