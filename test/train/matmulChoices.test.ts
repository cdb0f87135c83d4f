import test from 'ava';
import { changedMatmulChoices } from '#src/train/matmulChoices.js';

const [first, second] = ['bf16 1x16x8x24 a 8,1', 'f32 1x8x8x8 a 8,1@0'];
const before = `${first}\tcublasLt 13.0.2 fused 01\t0.1 ms\n${second}\town\t0.2 ms\n`;

test('choices that are made again are no change, whatever they took', (t) => {
  t.is(changedMatmulChoices('', before), undefined);
  t.is(changedMatmulChoices(before, before.replace('0.1 ms', 'as before')), undefined);
});

test('our own kernels stand for a choice that nobody made', (t) => {
  t.is(changedMatmulChoices(`${second}\town\t0.2 ms\n`, ''), undefined);
});

test('another choice is named with the one before it', (t) => {
  const message = changedMatmulChoices(before, '');
  t.regex(message!, /^a matrix product is computed in another way/);
  t.true(message!.endsWith(`${first} by own in place of cublasLt 13.0.2 fused 01`));
  const tile = before.replaceAll('\town\t', '\town tile 1\t').replace('fused', 'finished');
  t.regex(changedMatmulChoices(before, tile)!, /^2 matrix products are/);
});
