import * as v from 'valibot';
import { ConfigError, DataError } from '../errors.js';

/** What stands for an n-gram in the features of a text: that it is there, how often, or that times how rare it is elsewhere. */
export const featureWeightings = ['binary', 'counts', 'tfidf'] as const;
export type FeatureWeighting = (typeof featureWeightings)[number];

export interface BagOfWordsOptions {
  /** Of the tokenizer whose ids the documents are. */
  readonly vocabSize: number;
  /** Ids that are no words, such as unk: no n-gram holds one of them. */
  readonly specialIds?: readonly number[];
  /** Default tfidf. */
  readonly weighting?: FeatureWeighting;
  /** Tokens of the longest n-grams. Default 1: words alone. */
  readonly maxNgram?: number;
  /** An n-gram that is in fewer documents is no feature. Default 1. */
  readonly minCount?: number;
}

/** The features of a text that are not 0, ascending. */
export interface Features {
  readonly ids: Int32Array;
  readonly weights: Float32Array;
}

/**
 * An n-gram: the feature of all its tokens but the last (-1 where there are none), the last, and how many documents hold it. All that
 * an n-gram begins with are in at least as many documents, so they are features too, and stand before it.
 */
type Ngram = readonly [prefix: number, token: number, documents: number];

const whole = (least: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(least));
const bagOfWordsJson = v.strictObject({
  kind: v.literal('bag-of-words'),
  weighting: v.picklist(featureWeightings),
  vocabSize: whole(1),
  documents: whole(1),
  ngrams: v.pipe(v.array(v.strictTuple([whole(-1), whole(0), whole(1)])), v.minLength(1)),
});

/**
 * Turns the tokens of a text into a sparse row of features, one for each n-gram that enough of the documents it was learnt from hold.
 *
 * tfidf is what scikit-learn's TfidfVectorizer computes by default: count(t) (ln((1 + n) / (1 + df(t))) + 1) for n documents of which
 * df(t) hold t, each row divided by its Euclidean length (https://scikit-learn.org/stable/modules/feature_extraction.html, "Tf-idf
 * term weighting"). binary and counts are not normalised.
 */
export class BagOfWords {
  readonly #numbers: ReadonlyMap<number, number>;
  readonly #factors: Float64Array;

  private constructor(
    readonly weighting: FeatureWeighting,
    readonly vocabSize: number,
    private readonly documents: number,
    private readonly ngrams: readonly Ngram[],
  ) {
    this.#numbers = new Map(
      ngrams.map(([prefix, token], feature) => [keyOf(prefix, token, vocabSize), feature]),
    );
    this.#factors = Float64Array.from(
      ngrams,
      ([, , holding]) => Math.log((1 + documents) / (1 + holding)) + 1,
    );
  }

  get numFeatures(): number {
    return this.ngrams.length;
  }

  /**
   * Learns the n-grams of documents, which it goes through once. Throws ConfigError where an option cannot be and DataError where no
   * n-gram is in `minCount` documents.
   */
  static learn(documents: Iterable<ArrayLike<number>>, options: BagOfWordsOptions): BagOfWords {
    const { vocabSize, specialIds = [], weighting = 'tfidf', maxNgram = 1, minCount = 1 } = options;
    for (const [name, value] of Object.entries({ vocabSize, maxNgram, minCount })) {
      if (Number.isSafeInteger(value) && value >= 1) continue;
      throw new ConfigError(`${name} must be a whole number of at least 1 but is ${value}`, {
        [name]: value,
      });
    }
    const special = new Set(specialIds);
    const numbers = new Map<number, number>();
    const found: { prefix: number; token: number; documents: number; last: number }[] = [];
    let read = 0;
    for (const document of documents) {
      for (let start = 0; start < document.length; start++) {
        let feature = -1;
        for (let at = start; at < start + maxNgram && at < document.length; at++) {
          const token = document[at];
          if (special.has(token)) break;
          const key = keyOf(feature, token, vocabSize);
          const known = numbers.get(key);
          if (known === undefined) {
            found.push({ prefix: feature, token, documents: 0, last: -1 });
            numbers.set(key, found.length - 1);
          }
          feature = known ?? found.length - 1;
          if (found[feature].last !== read) found[feature].documents++;
          found[feature].last = read;
        }
      }
      read++;
    }
    const places = new Map([[-1, -1]]);
    const ngrams: Ngram[] = [];
    found.forEach(({ prefix, token, documents }, feature) => {
      if (documents < minCount) return;
      places.set(feature, ngrams.length);
      ngrams.push([places.get(prefix)!, token, documents]);
    });
    if (ngrams.length === 0) {
      throw new DataError(`of ${found.length} n-grams in ${read} documents none is in ${minCount} of them`, {
        minCount,
      });
    }
    return new BagOfWords(weighting, vocabSize, read, ngrams);
  }

  /** Of the tokens of a text; of more than `limit` features those of the greatest weight. */
  encode(ids: ArrayLike<number>, limit = Number.POSITIVE_INFINITY): Features {
    const counts = new Map<number, number>();
    for (let start = 0; start < ids.length; start++) {
      let feature: number | undefined = -1;
      for (let at = start; at < ids.length; at++) {
        feature = this.#numbers.get(keyOf(feature, ids[at], this.vocabSize));
        if (feature === undefined) break;
        counts.set(feature, (counts.get(feature) ?? 0) + 1);
      }
    }
    let entries = [...counts].map(([feature, count]) => ({ feature, weight: this.#weight(feature, count) }));
    if (this.weighting === 'tfidf') {
      const length = Math.sqrt(entries.reduce((sum, { weight }) => sum + weight * weight, 0));
      for (const entry of entries) entry.weight /= length;
    }
    if (entries.length > limit) {
      entries = entries.sort((a, b) => b.weight - a.weight || a.feature - b.feature).slice(0, limit);
    }
    entries.sort((a, b) => a.feature - b.feature);
    return {
      ids: Int32Array.from(entries, ({ feature }) => feature),
      weights: Float32Array.from(entries, ({ weight }) => weight),
    };
  }

  #weight(feature: number, count: number): number {
    if (this.weighting === 'binary') return 1;
    return this.weighting === 'counts' ? count : count * this.#factors[feature];
  }

  /** The tokens that a feature stands for, in their order. */
  ngramTokens(feature: number): number[] {
    const tokens: number[] = [];
    for (let at = feature; at >= 0; at = this.ngrams[at][0]) tokens.unshift(this.ngrams[at][1]);
    return tokens;
  }

  /** Everything `fromJSON` needs. */
  toJSON(): v.InferOutput<typeof bagOfWordsJson> {
    const { weighting, vocabSize, documents, ngrams } = this;
    return {
      kind: 'bag-of-words',
      weighting,
      vocabSize,
      documents,
      ngrams: ngrams.map(([...ngram]) => ngram),
    };
  }

  /** From what `toJSON` gave, parsed. Anything else is a DataError. */
  static fromJSON(value: unknown): BagOfWords {
    const result = v.safeParse(bagOfWordsJson, value);
    const fail = (what: string): never => {
      throw new DataError(`bag of words: ${what}`);
    };
    if (!result.success) {
      const [issue] = result.issues;
      return fail(`${v.getDotPath(issue) ?? 'JSON'}: ${issue.message.slice(0, 200)}`);
    }
    const { weighting, vocabSize, documents, ngrams } = result.output;
    ngrams.forEach(([prefix, token, holding], feature) => {
      if (prefix < feature && token < vocabSize && holding <= documents) return;
      fail(`ngrams.${feature} is [${ngrams[feature]}], which does not go with what stands before it`);
    });
    const made = new BagOfWords(weighting, vocabSize, documents, ngrams);
    return made.#numbers.size === ngrams.length ? made : fail('two n-grams are the same');
  }
}

/** One number for an n-gram: that of its beginning and its last token. */
const keyOf = (prefix: number, token: number, vocabSize: number): number => (prefix + 1) * vocabSize + token;
