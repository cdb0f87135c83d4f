import { sizeOf } from '#src/shape/shape.js';
import { type Definitions, floats } from './array.js';
import { activationOf } from './pointwise.js';

export const matmul: Definitions = {
  matmul: ({ inputs: [a, b, bias, addend, preactivation], attributes: { epilogue, kind } }) => {
    const [m, k] = a!.shape.slice(-2);
    const n = b!.shape.at(-1)!;
    const leading = a!.shape.slice(0, -2);
    const z = floats([...leading, m, n]);
    for (let matrix = 0; matrix < sizeOf(leading); matrix++) {
      for (let i = 0; i < m; i++) {
        const row = (matrix * m + i) * n;
        for (let p = 0; p < k; p++) {
          const left = a!.data[(matrix * m + i) * k + p];
          for (let j = 0; j < n; j++) z.data[row + j] += left * b!.data[(matrix * k + p) * n + j];
        }
        for (let j = 0; j < n; j++) z.data[row + j] += (bias?.data[j] ?? 0) + (addend?.data[row + j] ?? 0);
      }
    }
    const { value, slope } = activationOf(kind);
    const y = floats(z.shape);
    for (let i = 0; i < y.data.length; i++) {
      if (epilogue === 'activation') y.data[i] = value(z.data[i]);
      else if (epilogue === 'activation_backward') y.data[i] = z.data[i] * slope(preactivation!.data[i]);
      else y.data[i] = z.data[i];
    }
    const columnSums = floats([...leading, n]);
    for (let matrix = 0; matrix < sizeOf(leading); matrix++)
      for (let p = 0; p < k; p++)
        for (let j = 0; j < n; j++) columnSums.data[matrix * n + j] += b!.data[(matrix * k + p) * n + j];
    return [y, z, columnSums];
  },
};
