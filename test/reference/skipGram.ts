import { skipGramBlock, skipGramGroup } from '#src/ops/index.js';
import { type PhiloxKey, philox4x32, seedKey } from '#src/random/philox.js';
import { type Definitions, floats, type NumberArray } from './array.js';

const textSite = 0xfffffe00;
const negativesSite = textSite + 1;

const uniform = (word: number) => (word >>> 8) * 2 ** -24;
const logistic = (x: number) => 1 / (1 + Math.exp(-x));
const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** A number below `count` from a word, and the 32 bits of the product below it. */
function drawnBelow(word: number, count: number): [drawn: number, rest: number] {
  const product = BigInt(word >>> 0) * BigInt(count);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

/** Words that are kept, and how far each reaches. */
function keptWords(ids: NumberArray, keep: NumberArray, window: number, step: number, key: PhiloxKey) {
  const kept: { word: number; reach: number }[] = [];
  ids.data.forEach((word, position) => {
    const random = philox4x32([0, position, step, textSite], key);
    if (word < 0 || word >= keep.data.length || uniform(random[0]) >= keep.data[word]) return;
    kept.push({ word, reach: 1 + drawnBelow(random[1], window)[0] });
  });
  return kept;
}

export const skipGram: Definitions = {
  skip_gram: ({
    inputs: [centres, contexts, ids, keep, probability, alias],
    attributes: { window, negatives },
    scalars: { learningRate, seed, step },
  }) => {
    const [words, size] = centres!.shape;
    const key = seedKey(seed);
    const text = keptWords(ids!, keep!, window as number, step, key);
    const negative = (group: number, index: number): number => {
      const word = philox4x32([index >> 2, group, step, negativesSite], key)[index & 3];
      const [own, rest] = drawnBelow(word, words);
      return uniform(rest) < probability!.data[own] ? own : alias!.data[own];
    };
    let [lossSum, pairCount] = [0, 0];
    for (let block = 0; block < text.length; block += skipGramBlock) {
      const old = { centres: centres!.data.slice(), contexts: contexts!.data.slice() };
      const row = (table: 'centres' | 'contexts', word: number) =>
        old[table].subarray(word * size, (word + 1) * size);
      const change = (centre: number, context: number, factor: number) => {
        const [v, u] = [row('centres', centre), row('contexts', context)];
        for (let i = 0; i < size; i++) {
          centres!.data[centre * size + i] += learningRate * factor * u[i];
          contexts!.data[context * size + i] += learningRate * factor * v[i];
        }
      };
      const product = (centre: number, context: number) => {
        const u = row('contexts', context);
        return Array.from(row('centres', centre)).reduce((sum, value, i) => sum + value * u[i], 0);
      };
      for (let at = block; at < Math.min(text.length, block + skipGramBlock); at++) {
        const { word: centre, reach } = text[at];
        let pairs = 0;
        for (let other = Math.max(0, at - reach); other <= Math.min(text.length - 1, at + reach); other++) {
          if (other === at) continue;
          pairs++;
          const x = product(centre, text[other].word);
          change(centre, text[other].word, logistic(-x));
          lossSum += softplus(-x);
        }
        const weight = ((negatives as number) * pairs) / skipGramGroup;
        for (let index = 0; index < skipGramGroup; index++) {
          const context = negative(Math.floor(at / skipGramGroup), index);
          const x = product(centre, context);
          change(centre, context, -weight * logistic(x));
          lossSum += weight * softplus(x);
        }
        pairCount += pairs;
      }
    }
    const result = (value: number) => {
      const array = floats([1]);
      array.data[0] = value;
      return array;
    };
    return [result(lossSum), result(pairCount)];
  },
};
