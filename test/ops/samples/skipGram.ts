import { skipGramUpdate } from '#src/ops/index.js';
import { exactly, integers, normal, type Sample, type SampleArray } from '../sample.js';

interface Case {
  readonly name: string;
  readonly words: number;
  readonly size: number;
  readonly ids: SampleArray;
  /** Probability of keeping each word. */
  readonly keep?: (word: number) => number;
  readonly window: number;
  readonly negatives: number;
}

const skipGram = ({ name, words, size, ids, keep = () => 1, window, negatives }: Case): Sample => {
  const each = <T>(value: (word: number) => T) => Array.from({ length: words }, (_, word) => value(word));
  return {
    name: `skip_gram: ${name}`,
    inputs: { ids, keep: exactly([words], each(keep)) },
    slots: {
      centres: normal([words, size], 0.4),
      contexts: normal([words, size], 0.4),
      aliasProbability: exactly(
        [words],
        each((word) => 0.25 + 0.5 * (word % 2)),
      ),
      alias: exactly(
        [words],
        each((word) => (word * 7) % words),
        'i32',
      ),
    },
    build: (tensors) => {
      const { centres, contexts, ids, keep, aliasProbability, alias } = tensors;
      return skipGramUpdate({ centres, contexts, ids, keep, aliasProbability, alias, window, negatives });
    },
    scalars: { learningRate: 0.05, seed: 7, step: 3 },
    gradient: 'none',
  };
};

export const skipGramSamples: readonly Sample[] = [
  skipGram({
    name: 'one pair',
    words: 2,
    size: 1,
    ids: exactly([2], [0, 1], 'i32'),
    window: 1,
    negatives: 1,
  }),
  skipGram({
    name: 'one word has no pair',
    words: 3,
    size: 5,
    ids: integers([1], 0, 3),
    window: 4,
    negatives: 5,
  }),
  skipGram({
    name: 'no word is kept',
    words: 3,
    size: 5,
    ids: integers([40], 0, 3),
    keep: () => 0,
    window: 2,
    negatives: 5,
  }),
  skipGram({
    name: 'whole groups',
    words: 50,
    size: 32,
    ids: integers([64], 0, 50),
    window: 3,
    negatives: 5,
  }),
  skipGram({
    name: 'blocks of words that repeat, some of them dropped or unknown',
    words: 23,
    size: 100,
    ids: integers([151], -2, 23),
    keep: (word) => (word % 3 === 0 ? 0.5 : 1),
    window: 5,
    negatives: 5,
  }),
  skipGram({
    name: 'more than a segment of text',
    words: 300,
    size: 13,
    ids: integers([1100], 0, 300),
    keep: (word) => (word < 20 ? 0.3 : 0.9),
    window: 2,
    negatives: 15,
  }),
  skipGram({
    name: 'a wide window, no negatives',
    words: 40,
    size: 20,
    ids: integers([70], 0, 40),
    window: 60,
    negatives: 0,
  }),
];
