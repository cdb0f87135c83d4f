import { ConfigError } from '../errors.js';

/** When generation ends, and who is told. */
export interface EndOptions {
  /** Tokens to generate, at most. Default 200. */
  maxNewTokens?: number;
  /** A token that ends the text and does not belong to it. Default: none. */
  endToken?: number;
  /** Ends generation after the current token. */
  signal?: AbortSignal;
  /** Told when the text outgrows the context. Default: a warning of the process. */
  onNotice?: (message: string) => void;
}

/** @throws ConfigError unless maxNewTokens is a whole number */
export function tokenLimit({ maxNewTokens = 200 }: EndOptions): number {
  if (Number.isSafeInteger(maxNewTokens) && maxNewTokens >= 0) return maxNewTokens;
  throw new ConfigError(`maxNewTokens must be a whole number, but it is ${maxNewTokens}`, { maxNewTokens });
}
