import type { Merge } from './mergeWord.js';
import type { SplitPattern } from './splitPattern.js';

/** A token that is no product of merges. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** A special token is never made from text; another is, wherever its content stands there. */
  readonly special: boolean;
  /** Whether the token takes in the white space before it and behind it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** All that a byte-level BPE is. */
export interface BpeDefinition {
  /** Bytes of every token by its id, but for added tokens, where there may be none. */
  readonly tokens: readonly (Uint8Array | undefined)[];
  readonly merges: readonly Merge[];
  readonly addedTokens: readonly AddedToken[];
  readonly pattern: SplitPattern;
  /** Whether texts are brought to Unicode's composed form (NFC) before they are encoded (as in Qwen 2). */
  readonly composes: boolean;
  /** Whether a text that begins with no space is encoded as if it did. */
  readonly addPrefixSpace: boolean;
  /** Whether a piece that is a token is taken as it is, though merges might not lead to it (as in Llama 3). */
  readonly ignoreMerges: boolean;
}
