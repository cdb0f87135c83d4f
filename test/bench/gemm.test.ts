import test from 'ava';
import { benchGemm, productsOf } from '../../bench/gemm.js';
import { trainingCases } from '../../bench/trainingCase.js';

const shapeOf = (name: string) => trainingCases.find((shape) => shape.name === name)!;

test('a step multiplies three times for each linear layer', (t) => {
  const products = productsOf(shapeOf('d384'));
  t.is(products.length, 12);
  const extents = (name: string) => {
    const { m, n, k, transposeA, transposeB } = products.find((product) => product.name === `d384 ${name}`)!;
    return [m, k, n, transposeA, transposeB];
  };
  t.deepEqual(extents('up forward'), [2048, 384, 1536, false, false]);
  t.deepEqual(extents('up input gradient'), [2048, 1536, 384, false, true]);
  t.deepEqual(extents('up weight gradient'), [384, 2048, 1536, true, false]);
  t.deepEqual(extents('qkv forward'), [2048, 384, 1152, false, false]);
});

test('products are measured in both precisions, and peers that were not asked for are not there', async (t) => {
  const result = await benchGemm({ cases: ['tiny'], peers: [], threads: 1, rounds: 1 });
  t.is(result.cases.length, 2 * 12);
  t.deepEqual(result.peers, {});
  for (const { name, precision, ours, peers, ratio } of result.cases) {
    t.true(ours.min > 0 && ours.min <= ours.median && ours.median <= ours.max, `${name} ${precision}`);
    t.deepEqual([peers, ratio], [{}, undefined]);
  }
  t.deepEqual(Object.keys(result.summary), ['float32', 'bf16']);
});
