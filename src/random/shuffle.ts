import type { RandomStream } from './stream.js';

/** A whole number from 0 to `limit` - 1. */
export const below = (random: RandomStream, limit: number): number => Math.floor(random.uniform() * limit);

/** Brings the items into a random order, in place (Fisher and Yates; Durstenfeld 1964, algorithm 235). */
export function shuffle<Item>(items: Item[], random: RandomStream): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = below(random, last + 1);
    [items[last], items[other]] = [items[other], items[last]];
  }
  return items;
}
