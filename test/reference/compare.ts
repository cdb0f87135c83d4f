import type { NumberArray } from './array.js';

export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/** Says where `found` is further from `expected` than atol + rtol max|expected|, or undefined where it is not. */
export function difference(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  { rtol, atol }: Tolerance,
): string | undefined {
  if (found.length !== expected.length) return `${found.length} numbers instead of ${expected.length}`;
  let greatest = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) greatest = Math.max(greatest, Math.abs(expected[i]));
  }
  const bound = atol + rtol * greatest;
  let worst = -1;
  let worstError = bound;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(found[i], expected[i])) continue;
    const error = Math.abs(found[i] - expected[i]);
    if (error <= worstError) continue;
    worst = i;
    worstError = error;
    if (Number.isNaN(error)) break;
  }
  return worst < 0
    ? undefined
    : `element ${worst} is ${found[worst]} instead of ${expected[worst]}: off by ${worstError}, allowed ${bound}`;
}

/** The first difference between named arrays, or undefined. */
export function firstDifference(
  found: ReadonlyMap<string, NumberArray>,
  expected: ReadonlyMap<string, NumberArray>,
  tolerance: Tolerance,
): string | undefined {
  for (const [name, { data }] of expected) {
    const other = found.get(name);
    const message = other ? difference(other.data, data, tolerance) : 'is missing';
    if (message) return `${name}: ${message}`;
  }
  return undefined;
}
