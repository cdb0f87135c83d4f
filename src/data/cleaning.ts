import { ConfigError } from '../errors.js';
import { cleanText8 } from '../text/normalise.js';

export const cleanings = ['none', 'text8'] as const;
/** 'text8' applies the rules of text8 (a-z and single spaces). */
export type Cleaning = (typeof cleanings)[number];

/**
 * A row of a text by the rules of `clean`. By those of text8 it begins with a space, as text8 does: to a tokenizer that keeps the space before a
 * word in its token, the row's first word is then the one that it knows from within texts.
 */
export const cleanRow = (text: string, clean: Cleaning): string =>
  clean === 'text8' ? ` ${cleanText8(text)}` : text;

/** Throws ConfigError. */
export function checkCleaning(clean: Cleaning): void {
  if (cleanings.includes(clean)) return;
  throw new ConfigError(`clean must be ${cleanings.join(' or ')}, but it is ${clean}`, { clean });
}
