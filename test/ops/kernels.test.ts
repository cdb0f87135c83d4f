import test from 'ava';
import { kernelOps } from '#src/graph/op.js';
import { definitions } from '../reference/interpreter.js';
import { checkKernels } from './kernels.js';
import { sampleGraph } from './sample.js';
import { samples } from './samples.js';
import { waysOf } from './trial.js';

test('every op with a kernel has a definition in float64 and a sample', (t) => {
  const used = new Set(
    samples.flatMap((sample) => sampleGraph(sample, { backward: true }).graph.nodes.map(({ op }) => op.name)),
  );
  // What copies cost is the compiler's to decide: samples named after `copy` need them.
  used.add('copy');
  for (const { name } of kernelOps()) {
    t.true(name in definitions, `${name} has no definition`);
    t.true(used.has(name), `${name} has no sample`);
  }
  t.is(new Set(samples.map(({ name }) => name)).size, samples.length, 'two samples have one name');
});

for (const sample of samples) {
  test(`kernels of ${sample.name}`, async (t) => {
    for (const way of waysOf(sample)) t.deepEqual(await checkKernels(sample, way), [], way);
  });
}
