import type { SpecialTokenName } from './specialTokens.js';
import { checkId, type Tokenizer } from './tokenizer.js';

/** Ids of special tokens: the tokenizer's own where it has them, else new ones behind its vocabulary. */
export interface AppendedTokens {
  readonly ids: Readonly<Record<string, number>>;
  /** Of the model: the tokenizer's and what was appended. */
  readonly vocabSize: number;
}

/** What each kind of Transformer reads beside a text's own tokens, in the order in which it is appended; all else comes behind it. */
export const modelTokens = {
  decoder: [],
  encoder: ['mask', 'cls'],
  encoderDecoder: ['bos', 'eos'],
} as const satisfies Readonly<Record<string, readonly SpecialTokenName[]>>;

export function appendTokens(tokenizer: Tokenizer, names: readonly string[]): AppendedTokens {
  const own: Readonly<Record<string, number | undefined>> = tokenizer.specialTokens;
  let { vocabSize } = tokenizer;
  const ids = Object.fromEntries(names.map((name) => [name, own[name] ?? vocabSize++]));
  return { ids, vocabSize };
}

/**
 * A tokenizer as a model sees it whose vocabulary goes on behind the tokenizer's: with the special tokens of those names, and further
 * ids (sentinels, rows that only round a table up). None of what was appended stands for text.
 */
export function extendTokenizer(
  tokenizer: Tokenizer,
  names: readonly SpecialTokenName[],
  vocabSize: number,
): Tokenizer {
  const { kind, unit, vocabSize: own } = tokenizer;
  if (vocabSize <= own) return tokenizer;
  const appended = Object.entries(appendTokens(tokenizer, names).ids).filter(([, id]) => id < vocabSize);
  const ofText = (ids: ArrayLike<number>): number[] =>
    Array.from(ids).filter((id) => {
      checkId(id, vocabSize);
      return id < own;
    });
  return {
    kind,
    unit,
    vocabSize,
    specialTokens: { ...tokenizer.specialTokens, ...Object.fromEntries(appended) },
    encode: (text, offset) => tokenizer.encode(text, offset),
    encoder: (offset) => tokenizer.encoder(offset),
    decode: (ids) => tokenizer.decode(ofText(ids)),
    decoder() {
      const decoder = tokenizer.decoder();
      return { write: (ids) => decoder.write(ofText(ids)), end: () => decoder.end() };
    },
    units: (id) => (ofText([id]).length === 0 ? 0 : tokenizer.units(id)),
    toJSON: () => tokenizer.toJSON(),
  };
}
