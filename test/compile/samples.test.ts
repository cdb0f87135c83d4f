import test from 'ava';
import { passes, printGraph } from '#src/compile/index.js';
import { inputValues, type Sample, type SampleGraph, sampleGraph, valuesOf } from '../ops/sample.js';
import { samples } from '../ops/samples.js';
import { firstDifference } from '../reference/compare.js';
import { executed, interpreted, type Situation } from './run.js';

/** Passes may change the order of float64 sums, and nothing else. */
const tolerance = { rtol: 1e-11, atol: 1e-12 };

function build(
  sample: Sample,
  wrap?: Parameters<typeof sampleGraph>[1],
): SampleGraph & { situation: Situation } {
  const built = sampleGraph(sample, { backward: true, ...wrap });
  for (const [name, tensor] of Object.entries(built.outputs)) built.graph.output(name, tensor);
  const state = Object.entries(built.state).map(([name, slot]) => ({
    slot,
    values: valuesOf(sample.name, name, sample.slots![name]),
  }));
  return { ...built, situation: { inputs: inputValues(sample, built), state, scalars: sample.scalars } };
}

for (const sample of samples) {
  test(`passes keep ${sample.name}`, (t) => {
    const { graph, situation } = build(sample);
    const expected = interpreted(graph, situation);
    let current = graph;
    for (const pass of passes()) {
      const text = printGraph(current);
      current = pass(current);
      if (printGraph(current) === text) continue;
      t.is(firstDifference(interpreted(current, situation), expected, tolerance), undefined, pass.name);
    }
    // The planned program, with and without fusions: memory that is used twice too early would show.
    for (const fuse of [true, false]) {
      const { results } = executed(build(sample).graph, situation, { fuse });
      t.is(firstDifference(results, expected, tolerance), undefined, `fuse: ${fuse}`);
    }
  });
}
