import { readFileSync } from 'node:fs';
import test from 'ava';
import { kernelOps } from '#src/graph/op.js';
import { opsHash, opsHeader } from '#src/ops/header.js';

const file = new URL('../../../native/ops.h', import.meta.url);

test('native/ops.h is what src/ops declares', (t) => {
  t.is(readFileSync(file, 'utf8'), opsHeader(), 'run npm run ops');
});

test('the hash of the ops is a number that programs carry', (t) => {
  t.true(opsHeader().includes(`OPS_HASH = 0x${opsHash().toString(16)}ull`));
  t.true(opsHeader().includes(`OP_COUNT = ${kernelOps().length};`));
});
