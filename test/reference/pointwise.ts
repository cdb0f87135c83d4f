import { philox4x32, seedKey } from '#src/random/philox.js';
import { columnsOf, type Definition, type Definitions, fill, type ReferenceCall } from './array.js';

const binary =
  (f: (a: number, b: number) => number): Definition =>
  ({ inputs: [a, b] }) => [fill(a!.shape, (i) => f(a!.data[i], b!.data[i]))];

const unaries: Readonly<Record<string, (x: number) => number>> = {
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  reciprocal: (x) => 1 / x,
  square: (x) => x * x,
};

/** Error function: 2 / sqrt(pi) exp(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...), whose terms all have the sign of x. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = 0;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    sum += term;
    term *= (2 * x * x) / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const cumulativeNormal = (x: number) => 0.5 * (1 + erf(x / Math.SQRT2));
const normalDensity = (x: number) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
const tanhArgument = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const tanhSlope = (x: number) => Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2);

const activations: Readonly<Record<string, { value: (x: number) => number; slope: (x: number) => number }>> =
  {
    none: { value: (x) => x, slope: () => 1 },
    gelu: {
      value: (x) => x * cumulativeNormal(x),
      slope: (x) => cumulativeNormal(x) + x * normalDensity(x),
    },
    gelu_tanh: {
      value: (x) => 0.5 * x * (1 + Math.tanh(tanhArgument(x))),
      slope: (x) => {
        const t = Math.tanh(tanhArgument(x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * tanhSlope(x);
      },
    },
    relu: { value: (x) => Math.max(x, 0), slope: (x) => (x > 0 ? 1 : 0) },
    sigmoid: { value: sigmoid, slope: (x) => sigmoid(x) * (1 - sigmoid(x)) },
    silu: { value: (x) => x * sigmoid(x), slope: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))) },
    tanh: { value: Math.tanh, slope: (x) => 1 - Math.tanh(x) ** 2 },
  };

/** kind(x) and kind'(x). */
export const activationOf = (kind: unknown) => activations[kind as string];

/** The three counter words that are the same for all elements of a dropout. */
function drawOf({ attributes, scalars }: Pick<ReferenceCall, 'attributes' | 'scalars'>) {
  const draw = ((attributes.site as number) << 8) | scalars.microStep;
  return { key: seedKey(scalars.seed), step: scalars.step, draw };
}

/**
 * The factor of one element under dropout: 0 with `probability`, else 1 / (1 - probability). Counter (row, element / 4,
 * step, site and micro-step); word element mod 4; its 24 high bits are the draw.
 */
export function dropoutFactor(
  call: Pick<ReferenceCall, 'attributes' | 'scalars'>,
  probability: number,
  row: number,
  element: number,
): number {
  const { key, step, draw } = drawOf(call);
  const word = philox4x32([row >>> 0, element >> 2, step, draw], key)[element & 3];
  return (word >>> 8) * 2 ** -24 >= probability ? 1 / (1 - probability) : 0;
}

export const pointwise: Definitions = {
  add: binary((a, b) => a + b),
  subtract: binary((a, b) => a - b),
  multiply: binary((a, b) => a * b),
  divide: binary((a, b) => a / b),
  scale: ({ inputs: [x], attributes: { factor, shift } }) => [
    fill(x!.shape, (i) => x!.data[i] * (factor as number) + (shift as number)),
  ],
  unary: ({ inputs: [x], attributes: { kind } }) => [
    fill(x!.shape, (i) => unaries[kind as string](x!.data[i])),
  ],
  activation: ({ inputs: [x], attributes: { kind } }) => [
    fill(x!.shape, (i) => activationOf(kind).value(x!.data[i])),
  ],
  activation_backward: ({ inputs: [x, dy], attributes: { kind } }) => [
    fill(x!.shape, (i) => dy!.data[i] * activationOf(kind).slope(x!.data[i])),
  ],
  gated_activation: ({ inputs: [gate, up], attributes: { kind } }) => [
    fill(gate!.shape, (i) => activationOf(kind).value(gate!.data[i]) * up!.data[i]),
  ],
  gated_activation_backward: ({ inputs: [gate, up, dy], attributes: { kind } }) => [
    fill(gate!.shape, (i) => dy!.data[i] * activationOf(kind).slope(gate!.data[i]) * up!.data[i]),
    fill(gate!.shape, (i) => dy!.data[i] * activationOf(kind).value(gate!.data[i])),
  ],
  dropout: (call) => {
    const x = call.inputs[0]!;
    const columns = columnsOf(x);
    const probability = call.attributes.probability as number;
    const factor = (index: number) => {
      const row = Math.floor(index / columns) + call.scalars.rowOffset;
      return dropoutFactor(call, probability, row, index % columns);
    };
    return [fill(x.shape, (i) => x.data[i] * factor(i))];
  },
};
