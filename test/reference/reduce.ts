import { columnsOf, type Definitions, floats, rowsOf } from './array.js';

export const reduce: Definitions = {
  sum: ({ inputs: [x] }) => {
    const [outer, length, inner] = x!.shape;
    const y = floats([outer, inner]);
    for (let a = 0; a < outer; a++) {
      for (let r = 0; r < length; r++) {
        for (let b = 0; b < inner; b++) y.data[a * inner + b] += x!.data[(a * length + r) * inner + b];
      }
    }
    return [y];
  },
  softmax: ({ inputs: [x] }) => {
    const columns = columnsOf(x!);
    const y = floats(x!.shape);
    for (let row = 0; row < rowsOf(x!); row++) {
      const values = Float64Array.from(x!.data.subarray(row * columns, (row + 1) * columns));
      const greatest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const weights = Float64Array.from(values, (value) => Math.exp(value - greatest));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let c = 0; c < columns; c++) y.data[row * columns + c] = weights[c] / total;
    }
    return [y];
  },
  // dx = y (dy - sum(y dy))
  softmax_backward: ({ inputs: [y, dy] }) => {
    const columns = columnsOf(y!);
    const dx = floats(y!.shape);
    for (let row = 0; row < rowsOf(y!); row++) {
      let along = 0;
      for (let i = row * columns; i < (row + 1) * columns; i++) along += y!.data[i] * dy!.data[i];
      for (let i = row * columns; i < (row + 1) * columns; i++)
        dx.data[i] = y!.data[i] * (dy!.data[i] - along);
    }
    return [dx];
  },
};
