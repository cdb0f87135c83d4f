import { columnsOf, type Definitions, floats, type NumberArray, rowsOf } from './array.js';

/** Layer norm where `centred`, else RMS norm: y, mean, 1 / deviation and x + residual. */
function normalise(
  x: NumberArray,
  weight: NumberArray,
  bias: NumberArray | undefined,
  residual: NumberArray | undefined,
  epsilon: number,
  centred: boolean,
) {
  const columns = columnsOf(x);
  const [y, sum] = [floats(x.shape), floats(x.shape)];
  const [mean, rstd] = [floats(x.shape.slice(0, -1)), floats(x.shape.slice(0, -1))];
  for (let row = 0; row < rowsOf(x); row++) {
    const at = row * columns;
    for (let c = 0; c < columns; c++) sum.data[at + c] = x.data[at + c] + (residual?.data[at + c] ?? 0);
    const values = sum.data.subarray(at, at + columns);
    if (centred) mean.data[row] = values.reduce((a, b) => a + b, 0) / columns;
    const squares = values.reduce((total, value) => total + (value - mean.data[row]) ** 2, 0);
    rstd.data[row] = 1 / Math.sqrt(squares / columns + epsilon);
    for (let c = 0; c < columns; c++) {
      const normal = (values[c] - mean.data[row]) * rstd.data[row];
      y.data[at + c] = normal * weight.data[c] + (bias?.data[c] ?? 0);
    }
  }
  return { y, mean, rstd, sum };
}

/** With h = (x - mean) rstd and g = dy weight: dx = rstd (g - average(g) - h average(g h)); RMS norm has no average(g). */
function normaliseBackward(
  x: NumberArray,
  weight: NumberArray,
  mean: NumberArray | undefined,
  rstd: NumberArray,
  dy: NumberArray,
  dsum: NumberArray | undefined,
) {
  const columns = columnsOf(x);
  const [dx, dweight, dbias] = [floats(x.shape), floats([columns]), floats([columns])];
  for (let row = 0; row < rowsOf(x); row++) {
    const at = row * columns;
    const normal = (c: number) => (x.data[at + c] - (mean?.data[row] ?? 0)) * rstd.data[row];
    const slope = (c: number) => dy.data[at + c] * weight.data[c];
    let [average, along] = [0, 0];
    for (let c = 0; c < columns; c++) {
      if (mean) average += slope(c) / columns;
      along += (slope(c) * normal(c)) / columns;
      dweight.data[c] += dy.data[at + c] * normal(c);
      dbias.data[c] += dy.data[at + c];
    }
    for (let c = 0; c < columns; c++) {
      dx.data[at + c] = rstd.data[row] * (slope(c) - average - normal(c) * along) + (dsum?.data[at + c] ?? 0);
    }
  }
  return { dx, dweight, dbias };
}

export const norm: Definitions = {
  layer_norm: ({ inputs: [x, weight, bias, residual], attributes: { epsilon } }) => {
    const { y, mean, rstd, sum } = normalise(x!, weight!, bias, residual, epsilon as number, true);
    return [y, mean, rstd, sum];
  },
  layer_norm_backward: ({ inputs: [x, weight, mean, rstd, dy, dsum] }) => {
    const { dx, dweight, dbias } = normaliseBackward(x!, weight!, mean!, rstd!, dy!, dsum);
    return [dx, dweight, dbias];
  },
  rms_norm: ({ inputs: [x, weight, residual], attributes: { epsilon } }) => {
    const { y, rstd, sum } = normalise(x!, weight!, undefined, residual, epsilon as number, false);
    return [y, rstd, sum];
  },
  rms_norm_backward: ({ inputs: [x, weight, rstd, dy, dsum] }) => {
    const { dx, dweight } = normaliseBackward(x!, weight!, undefined, rstd!, dy!, dsum);
    return [dx, dweight];
  },
};
