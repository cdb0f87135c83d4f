import { ConfigError } from '../errors.js';

/** Tokens `start … end - 1` of a source. */
export interface TokenRange {
  readonly start: number;
  readonly end: number;
}

export const partNames = ['train', 'valid', 'test'] as const;
export type PartName = (typeof partNames)[number];

/** Fractions of the train, valid and test part; they sum to 1. */
export type Split = readonly [train: number, valid: number, test: number];
export const defaultSplit: Split = [0.9, 0.05, 0.05];

/** Reads '0.9,0.05,0.05', or '0.9,0.1' for no test part, or the numbers themselves. Anything else is a ConfigError. */
export function parseSplit(value: string | readonly number[]): Split {
  const parts =
    typeof value === 'string'
      ? value.split(',').map((part) => (part.trim() ? Number(part) : Number.NaN))
      : value;
  const valid = (parts.length === 2 || parts.length === 3) && parts.every((part) => part >= 0 && part <= 1);
  const sum = parts.reduce((total, part) => total + part, 0);
  if (!valid || parts[0] === 0 || Math.abs(sum - 1) > 1e-9) {
    throw new ConfigError(
      `split must be two or three fractions for train, valid and test that sum to 1, with a train part, such as 0.9,0.1 or ` +
        `0.9,0.05,0.05, but it is ${value}`,
      { split: value },
    );
  }
  return [parts[0], parts[1], parts[2] ?? 0];
}

/** Cuts `count` tokens into contiguous parts in this order: train, valid, test. Borders are rounded down. */
export function splitTokens(count: number, split: Split = defaultSplit): Record<PartName, TokenRange> {
  const [train, valid] = split;
  const trainEnd = border(count, train);
  const validEnd = border(count, train + valid);
  return {
    train: { start: 0, end: trainEnd },
    valid: { start: trainEnd, end: validEnd },
    test: { start: validEnd, end: count },
  };
}

/** Rounding errors of the sum must not move a border: 0.7 + 0.1 is below 0.8. */
const border = (count: number, fraction: number): number =>
  fraction > 1 - 1e-9 ? count : Math.floor(count * fraction + 1e-6);
