import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { DataError, nearestName } from '../errors.js';
import { ByteTokenizer, bytesJson } from './bytes.js';
import { CharacterTokenizer, charactersJson } from './characters.js';
import type { Tokenizer, TokenizerJson } from './tokenizer.js';
import { isTokenizerJson, readTokenizerJson } from './tokenizerJsonReader.js';

/** Tokenizers with a JSON of our own: from it, checked, to the tokenizer. The others are kept as tokenizer.json files. */
const ownKinds = {
  characters: reader(charactersJson, CharacterTokenizer.fromJSON),
  bytes: reader(bytesJson, ByteTokenizer.fromJSON),
};
type OwnKind = keyof typeof ownKinds;

/** What a tokenizer can be built as from a text. */
export const tokenizerKinds = ['characters', 'bytes', 'bpe', 'words'] as const;
export type TokenizerKind = (typeof tokenizerKinds)[number];

/**
 * Rebuilds a tokenizer from what its `toJSON` gave (the parsed object), or from a tokenizer.json of Hugging Face's libraries.
 * Anything else is a DataError.
 */
export function tokenizerFromJSON(value: unknown): Tokenizer {
  if (isTokenizerJson(value)) return readTokenizerJson(value);
  const names = Object.keys(ownKinds);
  const kind = (value as { kind?: unknown } | null | undefined)?.kind;
  if (!names.includes(kind as OwnKind)) {
    const near = typeof kind === 'string' ? nearestName(kind.slice(0, 40), names) : undefined;
    const hint = near ? `; did you mean ${near}?` : '';
    const came = JSON.stringify(kind)?.slice(0, 40) ?? 'missing';
    throw new DataError(`tokenizer: kind must be ${names.join(' or ')}, but it is ${came}${hint}`, {
      kind,
    });
  }
  return ownKinds[kind as OwnKind](value);
}

function reader<Json>(schema: v.GenericSchema<unknown, Json>, build: (json: Json) => Tokenizer) {
  return (value: unknown): Tokenizer => {
    const result = v.safeParse(schema, value);
    if (result.success) return build(result.output);
    const issue = result.issues[0];
    throw new DataError(`tokenizer: ${v.getDotPath(issue) ?? 'JSON'}: ${issue.message.slice(0, 200)}`);
  };
}

/** The same text for the same tokenizer: keys sorted, no white space. */
export function canonicalTokenizerJson(tokenizer: Tokenizer): string {
  return JSON.stringify(sortKeys(tokenizer.toJSON()));
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sortKeys(inner)]),
  );
}

/** What ties a token file or a checkpoint to its tokenizer: 32 bytes, sha256 of the canonical JSON in UTF-8. */
export function tokenizerSha256(tokenizer: Tokenizer): Buffer {
  return createHash('sha256').update(canonicalTokenizerJson(tokenizer)).digest();
}

export type { Tokenizer, TokenizerJson };
