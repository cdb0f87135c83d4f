import { type Definitions, floats } from './array.js';

const counts = (target: number, vocabSize: number) => target >= 0 && target < vocabSize;

/** The smoothed target distribution at one token. */
const expected = (token: number, target: number, vocabSize: number, smoothing: number) =>
  (token === target ? 1 - smoothing : 0) + smoothing / vocabSize;

export const loss: Definitions = {
  softmax_cross_entropy: ({ inputs: [logits, targets], attributes }) => {
    const [rows, vocabSize] = logits!.shape;
    const smoothing = attributes.label_smoothing as number;
    const [losses, logSumExp, dlogits] = [floats([rows]), floats([rows]), floats([rows, vocabSize])];
    for (let row = 0; row < rows; row++) {
      const target = targets!.data[row];
      const x = logits!.data.subarray(row * vocabSize, (row + 1) * vocabSize);
      let greatest = Number.NEGATIVE_INFINITY;
      for (const value of x) greatest = Math.max(greatest, value);
      let total = 0;
      for (const value of x) total += Math.exp(value - greatest);
      logSumExp.data[row] = greatest + Math.log(total);
      if (!counts(target, vocabSize)) continue;
      for (let token = 0; token < vocabSize; token++) {
        const wanted = expected(token, target, vocabSize, smoothing);
        if (wanted > 0) losses.data[row] += wanted * (logSumExp.data[row] - x[token]);
        dlogits.data[row * vocabSize + token] = Math.exp(x[token] - logSumExp.data[row]) - wanted;
      }
    }
    return [losses, logSumExp, dlogits];
  },
  softmax_cross_entropy_backward: ({ inputs: [logits, targets, logSumExp, dloss], attributes }) => {
    const [rows, vocabSize] = logits!.shape;
    const smoothing = attributes.label_smoothing as number;
    const dlogits = floats(logits!.shape);
    for (let row = 0; row < rows; row++) {
      const target = targets!.data[row];
      if (!counts(target, vocabSize)) continue;
      for (let token = 0; token < vocabSize; token++) {
        const index = row * vocabSize + token;
        const probability = Math.exp(logits!.data[index] - logSumExp!.data[row]);
        dlogits.data[index] =
          dloss!.data[row] * (probability - expected(token, target, vocabSize, smoothing));
      }
    }
    return [dlogits];
  },
  count_targets: ({ inputs: [targets], attributes: { limit } }) => {
    const count = floats([1]);
    for (const target of targets!.data) if (counts(target, limit as number)) count.data[0]++;
    return [count];
  },
};
