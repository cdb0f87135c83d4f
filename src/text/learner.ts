import { BpeTrainer } from './bpeTrainer.js';
import { CharacterInventory } from './characters.js';
import type { SpecialTokenName } from './specialTokens.js';
import type { Tokenizer } from './tokenizer.js';
import type { TokenizerKind } from './vocabulary.js';
import { WordInventory } from './words.js';

export interface LearnerOptions {
  /** Tokens in all. Default 8,000 for bpe, no limit for words; characters have as many as there are. */
  readonly vocabSize?: number;
  /** A word that occurs less often is unknown to a words tokenizer. Default 1. */
  readonly minCount?: number;
  readonly specialTokens?: readonly SpecialTokenName[];
}

/** Learns a tokenizer from texts that come in pieces, which must not part a surrogate pair. */
export interface TokenizerLearner {
  add(text: string): void;
  /** What is added next belongs to another text. */
  endText?(): void;
  tokenizer(): Tokenizer;
}

const defaultBpeSize = 8000;

/** What learns a tokenizer of a kind that needs a text. */
export function tokenizerLearner(
  kind: Exclude<TokenizerKind, 'bytes'>,
  { vocabSize, minCount, specialTokens = [] }: LearnerOptions = {},
): TokenizerLearner {
  if (kind === 'bpe') return new BpeTrainer({ vocabSize: vocabSize ?? defaultBpeSize, specialTokens });
  if (kind === 'words') {
    const inventory = new WordInventory();
    return {
      add: (text) => inventory.add(text),
      endText: () => inventory.endText(),
      tokenizer: () => inventory.tokenizer({ vocabSize, minCount, specialTokens }),
    };
  }
  const inventory = new CharacterInventory();
  return { add: (text) => inventory.add(text), tokenizer: () => inventory.tokenizer(specialTokens) };
}
