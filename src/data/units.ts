import type { Tokenizer } from '../text/tokenizer.js';
import type { TokenRange } from './split.js';
import type { TokenSource } from './tokenSource.js';

/** How many of its tokenizer's units (characters or bytes) a range of tokens stands for. */
export function countUnits(source: TokenSource, range: TokenRange, tokenizer: Tokenizer): number {
  const units = Float64Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.units(id));
  const tokens = range.end - range.start;
  if (units.every((length) => length === units[0])) return tokens * units[0];
  const block = new Int32Array(Math.min(tokens, 1 << 16));
  let total = 0;
  for (let position = range.start; position < range.end; position += block.length) {
    const length = Math.min(block.length, range.end - position);
    source.read(position, block, 0, length);
    for (let i = 0; i < length; i++) total += units[block[i]];
  }
  return total;
}

/** Bits per character (or byte) from a mean loss in nats per token: loss * tokens / (units * ln 2). */
export const bitsPerUnit = (natsPerToken: number, tokens: number, units: number): number =>
  (natsPerToken * tokens) / (units * Math.LN2);
