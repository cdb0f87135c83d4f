import type { Tokenizer } from './tokenizer.js';

/** Ids of special tokens: the tokenizer's own where it has them, else new ones behind its vocabulary. */
export interface AppendedTokens {
  readonly ids: Readonly<Record<string, number>>;
  /** Of the model: the tokenizer's and what was appended. */
  readonly vocabSize: number;
}

export function appendTokens(tokenizer: Tokenizer, names: readonly string[]): AppendedTokens {
  const own: Readonly<Record<string, number | undefined>> = tokenizer.specialTokens;
  let { vocabSize } = tokenizer;
  const ids = Object.fromEntries(names.map((name) => [name, own[name] ?? vocabSize++]));
  return { ids, vocabSize };
}
