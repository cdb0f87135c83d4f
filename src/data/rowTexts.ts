// What the readers of rows (pairs, labelled texts, prompts with completions) share: a tokenizer, and tokens row by row.
import { ConfigError } from '../errors.js';
import { ByteTokenizer } from '../text/bytes.js';
import { allocateIds, type TokenIds } from '../text/ids.js';
import { type LearnerOptions, tokenizerLearner } from '../text/learner.js';
import type { SpecialTokenName } from '../text/specialTokens.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { documentRows, type TokenRows } from './rows.js';
import type { PartName } from './split.js';
import { tokenizerNamed } from './tokenizerFile.js';
import { MemoryTokens } from './tokenSource.js';

export interface RowDataOptions extends LearnerOptions {
  /**
   * A kind, to be learnt from all texts of the training part together, a tokenizer, or the path of one; default 'bpe'. Tokens
   * are in memory, at four bytes each at most.
   */
  readonly tokenizer?: string | Tokenizer;
  /** Stops the reading; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Files by part. Without a training part the tokenizer must exist. */
export type PartFiles<File> = Readonly<Partial<Record<PartName, File>>>;

/** The tokenizer that `options` ask for, learnt from `texts` where it needs to be. */
export async function rowTokenizer(
  texts: AsyncIterable<string> | undefined,
  options: RowDataOptions,
  defaultSpecialTokens: readonly SpecialTokenName[],
): Promise<Tokenizer> {
  const asked = options.tokenizer ?? 'bpe';
  const wanted = typeof asked === 'string' ? await tokenizerNamed(asked) : asked;
  if (typeof wanted !== 'string') return wanted;
  const specialTokens = options.specialTokens ?? defaultSpecialTokens;
  if (wanted === 'bytes') return new ByteTokenizer(specialTokens);
  if (!texts) {
    throw new ConfigError(
      `a ${wanted} tokenizer is learnt from a training part, but there is none; give the tokenizer`,
    );
  }
  const learner = tokenizerLearner(wanted, { ...options, specialTokens });
  for await (const text of texts) {
    options.signal?.throwIfAborted();
    learner.add(text);
    learner.endText?.();
  }
  return learner.tokenizer();
}

/** Takes the tokens of one row after another and keeps them in the narrowest form there is. */
export class RowsBuilder {
  readonly #vocabSize: number;
  readonly #starts: number[] = [];
  #ids: TokenIds;
  #length = 0;

  constructor(vocabSize: number) {
    this.#vocabSize = vocabSize;
    this.#ids = allocateIds(vocabSize, 1 << 12);
  }

  get count(): number {
    return this.#starts.length;
  }

  add(row: TokenIds): void {
    this.#starts.push(this.#length);
    const needed = this.#length + row.length;
    if (needed > this.#ids.length) {
      const larger = allocateIds(this.#vocabSize, 2 * needed);
      larger.set(this.#ids);
      this.#ids = larger;
    }
    this.#ids.set(row, this.#length);
    this.#length = needed;
  }

  rows(): TokenRows {
    const ids = this.#ids.slice(0, this.#length);
    return documentRows(new MemoryTokens(ids, this.#vocabSize, this.#starts));
  }
}
