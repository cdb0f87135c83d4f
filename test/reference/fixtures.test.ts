import test from 'ava';
import { gradients } from '#src/compile/index.js';
import { Graph } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import {
  attention,
  gelu,
  geluTanh,
  layerNorm,
  multiply,
  rmsNorm,
  silu,
  softmaxCrossEntropyOp,
} from '#src/ops/index.js';
import { readFixture } from '../models/fixtures.js';
import { difference } from './compare.js';
import { interpret } from './interpreter.js';

type Tensors = Readonly<Record<string, Tensor>>;
type Attributes = Readonly<Record<string, unknown>>;

/** The ops by the fixture's names. */
const ops: Readonly<Record<string, (tensors: Tensors, attributes: Attributes) => Tensor>> = {
  attention: ({ query, key, value, ...lengths }, { causal }) =>
    attention(query, key, value, { causal: causal as boolean, ...lengths }),
  layerNorm: ({ x, weight, bias }, { epsilon }) => layerNorm(x, weight, bias, { epsilon: epsilon as number }),
  rmsNorm: ({ x, weight }, { epsilon }) => rmsNorm(x, weight, { epsilon: epsilon as number }),
  gelu: ({ x }, { approximate }) => (approximate === 'tanh' ? geluTanh(x) : gelu(x)),
  silu: ({ x }) => silu(x),
  crossEntropy: ({ logits, targets }, { labelSmoothing }) =>
    softmaxCrossEntropyOp([logits, targets], { label_smoothing: labelSmoothing as number })[0],
};

interface Case {
  readonly op: string;
  readonly attributes: Attributes;
  readonly inputs: readonly string[];
}

test('ops and their gradients are those of PyTorch in float64', async (t) => {
  const { description, tensors } = await readFixture('ops');
  const cases = description.cases as Readonly<Record<string, Case>>;
  for (const [name, { op, attributes, inputs }] of Object.entries(cases)) {
    const graph = new Graph();
    const leaves = Object.fromEntries(
      inputs.map((input) => {
        const { shape, data } = tensors.get(`${name}.${input}`)!;
        const dtype = data instanceof Int32Array ? 'i32' : 'f32';
        return [input, graph.input({ name: input, shape, dtype })];
      }),
    );
    const output = ops[op](leaves, attributes);
    const incoming = graph.input({ name: 'grad.output', shape: output.shape, dtype: 'f32' });
    const floats = inputs.filter((input) => leaves[input].dtype === 'f32');
    graph.output('output', output);
    gradients(
      multiply(output, incoming),
      floats.map((input) => leaves[input]),
    ).forEach((gradient, index) => {
      graph.output(`grad.${floats[index]}`, gradient!);
    });
    const given = [...inputs, 'grad.output'].map((input) => [input, tensors.get(`${name}.${input}`)!.data]);
    const results = interpret(graph, { inputs: Object.fromEntries(given) });
    for (const [key, { data }] of results) {
      // The op's attributes are float32: an epsilon of 1e-5 is off by 2e-9 of itself.
      const expected = tensors.get(`${name}.${key}.f64`)!.data;
      t.is(difference(data, expected, { rtol: 1e-7, atol: 1e-12 }), undefined, `${name}.${key}`);
    }
  }
});
