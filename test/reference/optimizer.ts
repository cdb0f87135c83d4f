import { type Definitions, floats, integers, type NumberArray } from './array.js';

/** Elements that share an entry {decay factor, learning-rate factor} of the block table. */
const blockElements = 1024;

const clipped = (gradient: number, clip: unknown, maximum: number) =>
  clip === 'value' ? Math.min(maximum, Math.max(-maximum, gradient)) : gradient;

/** counters = {applied, skipped, skipped in a row, unused}; true where the update is to be applied. */
function count(counters: NumberArray, finite: NumberArray): boolean {
  const isApplied = finite.data[0] !== 0;
  counters.data[isApplied ? 0 : 1]++;
  counters.data[2] = isApplied ? 0 : counters.data[2] + 1;
  return isApplied;
}

export const optimizer: Definitions = {
  gradient_norm: ({ inputs: [gradients, tokenCount], attributes: { clip, maximum } }) => {
    const [norm, factor, finite] = [floats([1]), floats([1]), integers([1])];
    const tokens = tokenCount!.data[0];
    let squares = 0;
    for (const gradient of gradients!.data) squares += gradient * gradient;
    norm.data[0] = tokens > 0 ? Math.sqrt(squares) / tokens : Number.NaN;
    // torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6.
    const shrink = (maximum as number) / (norm.data[0] + 1e-6);
    const bounded = Number.isFinite(Math.fround(norm.data[0]));
    if (bounded) {
      factor.data[0] = 1 / tokens;
      if (clip === 'norm') factor.data[0] *= Math.min(1, shrink);
      if (clip === 'rescale') factor.data[0] *= shrink;
    }
    finite.data[0] = bounded ? 1 : 0;
    return [norm, factor, finite];
  },
  // torch.optim.AdamW: p -= lr decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
  // p -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon). Not decoupled it is torch.optim.Adam: g += decay p instead.
  adamw: ({ inputs, attributes, scalars }) => {
    const [parameters, gradients, first, second, blocks, counters, factor, finite, mirror] = inputs;
    const { beta1, beta2, epsilon, weight_decay, maximum } = attributes as Record<string, number>;
    if (!count(counters!, finite!)) return [];
    const t = counters!.data[0];
    for (let i = 0; i < parameters!.data.length; i++) {
      const block = 2 * Math.floor(i / blockElements);
      const [decay, rate] = [blocks!.data[block], scalars.learningRate * blocks!.data[block + 1]];
      const decayed = weight_decay * decay * parameters!.data[i];
      let gradient = clipped(gradients!.data[i] * factor!.data[0], attributes.clip, maximum);
      if (!attributes.decoupled) gradient += decayed;
      first!.data[i] = beta1 * first!.data[i] + (1 - beta1) * gradient;
      second!.data[i] = beta2 * second!.data[i] + (1 - beta2) * gradient * gradient;
      if (attributes.decoupled) parameters!.data[i] -= rate * decayed;
      const direction = first!.data[i] / (1 - beta1 ** t);
      parameters!.data[i] -= (rate * direction) / (Math.sqrt(second!.data[i] / (1 - beta2 ** t)) + epsilon);
    }
    mirror?.data.set(parameters!.data);
    return [];
  },
  // torch.optim.SGD with dampening 0: g += decay p; b = momentum b + g; p -= lr (nesterov ? g + momentum b : b).
  sgd: ({ inputs, attributes, scalars }) => {
    const [parameters, gradients, buffer, blocks, counters, factor, finite, mirror] = inputs;
    const { momentum, weight_decay, maximum } = attributes as Record<string, number>;
    if (!count(counters!, finite!)) return [];
    for (let i = 0; i < parameters!.data.length; i++) {
      const block = 2 * Math.floor(i / blockElements);
      const [decay, rate] = [blocks!.data[block], scalars.learningRate * blocks!.data[block + 1]];
      let gradient = clipped(gradients!.data[i] * factor!.data[0], attributes.clip, maximum);
      gradient += weight_decay * decay * parameters!.data[i];
      if (momentum !== 0) {
        buffer!.data[i] = momentum * buffer!.data[i] + gradient;
        gradient = attributes.nesterov ? gradient + momentum * buffer!.data[i] : buffer!.data[i];
      }
      parameters!.data[i] -= rate * gradient;
    }
    mirror?.data.set(parameters!.data);
    return [];
  },
};
