import test from 'ava';
import { interpret } from '../reference/interpreter.js';
import { gradientBounds, inputValues, normal, type Sample, sampleGraph, valuesOf } from './sample.js';
import { samples } from './samples.js';

/** Inputs that are fixed numbers by definition, and have no gradient. */
const constants = ['alibiSlopes'];

/** Step along the direction: the five-point formula is off by about step^4. */
const step = 1e-3;

/**
 * The derivative of a sample's target along a random direction of its inputs, from autodiff's graph and from differences of
 * the target alone, both in float64.
 */
function derivatives(sample: Sample): { analytic: number; numeric: number; size: number } {
  const built = sampleGraph(sample, { backward: true });
  const { graph, outputs } = built;
  for (const [name, tensor] of Object.entries(outputs)) graph.output(name, tensor);
  const inputs = inputValues(sample, built);
  const { scalars } = sample;
  const found = interpret(graph, { inputs, scalars });
  const names = Object.keys(sample.inputs).filter(
    (name) => sample.inputs[name].dtype === 'f32' && !constants.includes(name),
  );
  const directions = names.map((name) =>
    valuesOf(sample.name, `direction.${name}`, normal(sample.inputs[name].shape)),
  );

  let [analytic, size] = [0, 0];
  names.forEach((name, index) => {
    found.get(`gradient.${name}`)!.data.forEach((value, element) => {
      analytic += value * directions[index][element];
      size = Math.max(size, Math.abs(value));
    });
  });

  const forward = sampleGraph(sample, { backward: true });
  forward.graph.output('target', forward.outputs.target);
  const targetAt = (distance: number) => {
    const moved = { ...inputs };
    names.forEach((name, index) => {
      moved[name] = inputs[name].map((value, element) => value + distance * directions[index][element]);
    });
    return interpret(forward.graph, { inputs: moved, scalars }).get('target')!.data[0];
  };
  const near = targetAt(step) - targetAt(-step);
  const far = targetAt(2 * step) - targetAt(-2 * step);
  return { analytic, numeric: (8 * near - far) / (12 * step), size };
}

for (const sample of samples) {
  if (sample.gradient === 'none') continue;
  test(`gradient of ${sample.name}`, (t) => {
    const { analytic, numeric, size } = derivatives(sample);
    const bound = gradientBounds[sample.gradient as keyof typeof gradientBounds];
    const error = Math.abs(analytic - numeric) / Math.max(Math.abs(analytic), size, 1e-3);
    t.true(error < bound, `${analytic} by autodiff, ${numeric} by differences: relative error ${error}`);
  });
}
