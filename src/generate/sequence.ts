/** Tokens that are being continued, and how many of them a row of the KV cache holds. */
export class Sequence {
  readonly ids: number[];
  /** The first token of the context: those before it are forgotten. */
  begin = 0;
  /** Tokens from `begin` on that are in the cache. */
  cached = 0;

  /** Without any token a sequence starts from `start`. */
  constructor(ids: readonly number[], start = 0) {
    this.ids = ids.length > 0 ? [...ids] : [start];
  }

  /** Tokens that the model has not seen yet. */
  fresh(): number[] {
    return this.ids.slice(this.begin + this.cached);
  }

  /** Forgets the beginning of a text that has outgrown the context. Returns whether it had to. */
  slide(capacity: number): boolean {
    if (this.ids.length - this.begin <= capacity) return false;
    // Forgetting a quarter at once: going over the rest anew is paid for by many cheap steps.
    this.begin = this.ids.length - keptTokens(capacity);
    this.cached = 0;
    return true;
  }

  /** Says that the cache holds everything but what comes next. */
  markCached(): void {
    this.cached = this.ids.length - this.begin;
  }
}

/** Tokens of a full context that stay when its beginning is forgotten. */
export const keptTokens = (capacity: number): number => Math.max(1, Math.ceil(0.75 * capacity));
