import { DataError } from '../errors.js';

/** Corpus BLEU (Papineni et al. 2002). */
export interface Bleu {
  /** From 0 to 100. */
  readonly score: number;
  /** In percent, of n-grams of 1 to 4 words. */
  readonly precisions: readonly number[];
  readonly brevityPenalty: number;
  /** Words of the translations, and of the references. */
  readonly length: number;
  readonly referenceLength: number;
}

const highestOrder = 4;

/**
 * Words as NIST's mteval-v13a.pl cuts them, which "13a" in a BLEU signature stands for (Post 2018, arXiv:1804.08771): ASCII
 * punctuation stands alone, but for the period, the comma and the dash, which do so only where no digit is on one side.
 */
export function words13a(line: string): string[] {
  const text = line
    .replaceAll('<skipped>', '')
    .replaceAll('-\n', '')
    .replaceAll('\n', ' ')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>');
  return ` ${text} `
    .replace(/[!-&(-+/:-@[-`{-~]/gu, ' $& ')
    .replace(/([^0-9])([.,])/gu, '$1 $2 ')
    .replace(/([.,])([^0-9])/gu, ' $1 $2')
    .replace(/([0-9])(-)/gu, '$1 $2 ')
    .split(/\p{White_Space}+/u)
    .filter(Boolean);
}

/** How often each n-gram of 1 to 4 words occurs. */
function ngrams(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (let begin = 0; begin < words.length; begin++) {
    for (let end = begin + 1; end <= Math.min(words.length, begin + highestOrder); end++) {
      const ngram = words.slice(begin, end).join(' ');
      counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
    }
  }
  return counts;
}

const orderOf = (ngram: string): number => ngram.split(' ').length;

/**
 * BLEU of translations against one reference each, as sacreBLEU computes it by default: words of 13a, case kept, and precisions
 * of 0 smoothed by halving (Chen & Cherry 2014, method 3). Throws DataError where the counts differ.
 */
export function bleu(translations: readonly string[], references: readonly string[]): Bleu {
  if (translations.length !== references.length) {
    throw new DataError(
      `BLEU compares line by line, but there are ${translations.length} translations and ${references.length} references`,
      { translations: translations.length, references: references.length },
    );
  }
  const correct = new Array<number>(highestOrder).fill(0);
  const total = new Array<number>(highestOrder).fill(0);
  let [length, referenceLength] = [0, 0];
  translations.forEach((translation, line) => {
    const [words, expected] = [words13a(translation), words13a(references[line])];
    length += words.length;
    referenceLength += expected.length;
    const there = ngrams(expected);
    for (const [ngram, count] of ngrams(words)) {
      const order = orderOf(ngram) - 1;
      total[order] += count;
      correct[order] += Math.min(count, there.get(ngram) ?? 0);
    }
  });
  const precisions = smoothed(correct, total);
  const brevityPenalty =
    length >= referenceLength ? 1 : length === 0 ? 0 : Math.exp(1 - referenceLength / length);
  const mean = Math.exp(precisions.reduce((sum, precision) => sum + Math.log(precision), 0) / highestOrder);
  const score = correct.some(Boolean) ? brevityPenalty * mean : 0;
  return { score, precisions, brevityPenalty, length, referenceLength };
}

/** Precisions in percent; the k-th order without a match counts 1 / 2^k matches, orders longer than any line count 0. */
function smoothed(correct: readonly number[], total: readonly number[]): number[] {
  let matches = 1;
  return correct.map((count, order) => {
    if (total[order] === 0) return 0;
    if (count > 0) return (100 * count) / total[order];
    matches /= 2;
    return (100 * matches) / total[order];
  });
}
