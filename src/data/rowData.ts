import type { Tokenizer } from '../text/tokenizer.js';
import type { TokenRows } from './rows.js';
import type { PartName } from './split.js';

/** A source and a target for each row: sentences and their translations, prompts and their completions. Without special tokens. */
export interface Pairs {
  readonly source: TokenRows;
  /** As many rows as `source`. */
  readonly target: TokenRows;
}

export interface PairData {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** A part that is missing is empty. */
  readonly parts: Readonly<Partial<Record<PartName, Pairs>>>;
}

export interface LabelledRows {
  readonly rows: TokenRows;
  /** The class of each row, from 0. */
  readonly labels: Int32Array;
}

export interface LabelledData {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** Names of the classes, in the order of their numbers. */
  readonly labelNames: readonly string[];
  readonly parts: Readonly<Partial<Record<PartName, LabelledRows>>>;
}

/** Rows of numbers with a class each. */
export interface FeatureData {
  readonly name: string;
  readonly tokenizer?: undefined;
  readonly parts: Readonly<
    Partial<Record<PartName, { features: readonly ArrayLike<number>[]; labels: Int32Array }>>
  >;
}
