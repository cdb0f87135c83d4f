// The decoder of the step benchmark as a user of TensorFlow.js writes it: core ops, tidy memory, the library's own gradients.
// What the library lacks is left out rather than written by hand, to its advantage: its Adam decays no weights, and no
// gradient is clipped. The WASM backend has no kernel for the gradient of gather (UnsortedSegmentSum), so that embeddings
// are products with one-hot rows there, which is the usual way round it.
import * as tf from '@tensorflow/tfjs';

const layerNormEpsilon = 1e-5;

function layerNorm(x, weight, bias) {
  const { mean, variance } = tf.moments(x, -1, true);
  const scale = tf.rsqrt(tf.add(variance, layerNormEpsilon));
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), scale), weight), bias);
}

const gelu = (x) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));

export class Decoder {
  /** `tensors` maps names to { shape, values }. */
  constructor(shape, tensors, backend) {
    this.shape = shape;
    this.backend = backend;
    const entries = Object.entries(tensors).map(([name, tensor]) => [
      name,
      tf.variable(tf.tensor(tensor.values, tensor.shape), true, name),
    ]);
    this.weights = Object.fromEntries(entries);
    const length = shape.sequenceLength;
    const hidden = Float32Array.from({ length: length * length }, (_, i) =>
      i % length > Math.floor(i / length) ? -1e9 : 0,
    );
    this.mask = tf.tensor2d(hidden, [length, length]);
  }

  linear(x, name) {
    return tf.fused.matMul({ a: x, b: this.weights[`${name}.weight`], bias: this.weights[`${name}.bias`] });
  }

  norm(x, name) {
    return layerNorm(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]);
  }

  embed(ids) {
    const { batchSize, sequenceLength, hiddenSize, vocabSize } = this.shape;
    const table = this.weights['embedding.weight'];
    const rows =
      this.backend === 'wasm' ? tf.matMul(tf.oneHot(ids, vocabSize), table) : tf.gather(table, ids);
    const x = tf.reshape(rows, [batchSize, sequenceLength, hiddenSize]);
    return tf.reshape(tf.add(x, this.weights['positions.weight']), [-1, hiddenSize]);
  }

  attention(x, name) {
    const { batchSize, sequenceLength, hiddenSize, heads } = this.shape;
    const headDim = hiddenSize / heads;
    const [query, key, value] = tf
      .split(this.linear(x, `${name}.qkv`), 3, 1)
      .map((part) =>
        tf.transpose(tf.reshape(part, [batchSize, sequenceLength, heads, headDim]), [0, 2, 1, 3]),
      );
    const scores = tf.mul(tf.matMul(query, key, false, true), 1 / Math.sqrt(headDim));
    const attended = tf.matMul(tf.softmax(tf.add(scores, this.mask)), value);
    const joined = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, hiddenSize]);
    return this.linear(joined, `${name}.output`);
  }

  feedForward(x, name) {
    return this.linear(gelu(this.linear(x, `${name}.up`)), `${name}.down`);
  }

  /** Mean cross entropy of the next tokens, in nats; ids and targets are int32 [batchSize * sequenceLength]. */
  loss(ids, targets) {
    let x = this.embed(ids);
    for (let layer = 0; layer < this.shape.layers; layer++) {
      const name = `layers.${layer}`;
      x = tf.add(x, this.attention(this.norm(x, `${name}.attentionNorm`), `${name}.attention`));
      x = tf.add(x, this.feedForward(this.norm(x, `${name}.feedForwardNorm`), `${name}.feedForward`));
    }
    const logits = tf.matMul(this.norm(x, 'norm'), this.weights['embedding.weight'], false, true);
    return tf.losses.softmaxCrossEntropy(tf.oneHot(targets, this.shape.vocabSize), logits);
  }
}
