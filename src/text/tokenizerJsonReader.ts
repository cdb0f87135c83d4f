// tokenizer.json files of Hugging Face's libraries: byte-level BPE, and words between white space. BPE with byte fallback is read by
// sentencePieceJson.ts, WordPiece and Unigram by subwordJson.ts.
import * as v from 'valibot';
import { BpeTokenizer } from './bpe.js';
import type { AddedToken } from './bpeDefinition.js';
import { byteLevelBytes } from './byteLevel.js';
import type { Merge } from './mergeWord.js';
import { readSentencePieceJson } from './sentencePieceJson.js';
import { type SplitPattern, splitExpressions } from './splitPattern.js';
import { readSubwordJson } from './subwordJson.js';
import type { Tokenizer } from './tokenizer.js';
import {
  addedTokens,
  checked,
  content,
  mergeList,
  refuse,
  tokenNames,
  vocab,
} from './tokenizerJsonSchema.js';
import { WordTokenizer } from './words.js';

const part = v.nullish(v.looseObject({ type: v.string() }));
const composition = v.object({ type: v.literal('NFC') });
const normalizer = v.nullish(
  v.union(
    [composition, v.object({ type: v.literal('Sequence'), normalizers: v.array(composition) })],
    'is not supported; only files without one, or with NFC, are',
  ),
);

const file = v.object({
  added_tokens: addedTokens,
  normalizer,
  pre_tokenizer: part,
  model: v.variant('type', [
    v.object({
      type: v.literal('BPE'),
      vocab,
      merges: mergeList,
      dropout: v.nullish(v.literal(0, 'must be 0')),
      continuing_subword_prefix: v.nullish(v.literal('', 'must be empty')),
      end_of_word_suffix: v.nullish(v.literal('', 'must be empty')),
      byte_fallback: v.nullish(v.literal(false, 'must be false')),
      ignore_merges: v.nullish(v.boolean()),
    }),
    v.object({ type: v.literal('WordLevel'), vocab, unk_token: content }),
  ]),
});
type File = v.InferOutput<typeof file>;

/** Whether a parsed JSON value is meant to be a tokenizer.json file. */
export const isTokenizerJson = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'model' in value;

/** The tokenizer of a parsed tokenizer.json. DataError where it is none, or of a kind that is not supported. */
export function readTokenizerJson(value: unknown): Tokenizer {
  const { type, byte_fallback } =
    (value as { model: { type?: unknown; byte_fallback?: unknown } | null }).model ?? {};
  if (type === 'WordPiece' || type === 'Unigram') return readSubwordJson(value);
  if (type === 'BPE' && byte_fallback === true) return readSentencePieceJson(value);
  const whole = checked(file, value);
  const { added_tokens, model } = whole;
  const single = added_tokens.find((token) => token.single_word);
  if (single)
    refuse(
      `added token ${JSON.stringify(single.content.slice(0, 40))} is single_word, which is not supported`,
    );
  const namesById = tokenNames(model.vocab);
  return model.type === 'BPE' ? bpe(whole, namesById) : words(whole, namesById);
}

function bpe(
  { added_tokens, normalizer, pre_tokenizer, model }: File,
  names: readonly (string | undefined)[],
): Tokenizer {
  if (model.type !== 'BPE') return refuse('model: BPE expected');
  const { pattern, addPrefixSpace } = splitOf(pre_tokenizer);
  const added = new Map(added_tokens.map((token) => [token.id, token]));
  if (added.size < added_tokens.length) refuse('two added tokens have the same id');
  const tokens = names.map((name, number) => {
    if (name === undefined || added.has(number)) return undefined;
    return byteLevelBytes(name) ?? refuse(`token ${number} has characters that stand for no byte`);
  });
  while (tokens.length <= Math.max(-1, ...added.keys())) tokens.push(undefined);
  const hole = tokens.findIndex((token, number) => token === undefined && !added.has(number));
  if (hole >= 0) refuse(`no token has the id ${hole}, although there are higher ones`);
  const merges = model.merges.map(([left, right]): Merge => {
    const ids = [left, right, left + right].map((name) => model.vocab.get(name) ?? -1);
    if (ids.some((number) => number < 0 || tokens[number] === undefined))
      refuse(`merge ${JSON.stringify(`${left} ${right}`.slice(0, 80))} is of tokens that are not in vocab`);
    return ids as unknown as Merge;
  });
  const bytes = new Set(tokens.flatMap((token) => (token?.length === 1 ? [token[0]] : [])));
  if (bytes.size < 256)
    refuse(`vocab has tokens for ${bytes.size} of the 256 bytes; it is no byte-level vocabulary`);
  const addedTokens: AddedToken[] = [...added.values()].map(({ single_word: _, ...token }) => token);
  return new BpeTokenizer({
    tokens,
    merges,
    addedTokens,
    pattern,
    composes: composesBy(normalizer),
    addPrefixSpace,
    ignoreMerges: model.ignore_merges ?? false,
  });
}

const composesBy = (normalizer: File['normalizer']): boolean =>
  normalizer?.type === 'NFC' || (normalizer?.type === 'Sequence' && normalizer.normalizers.length > 0);

const byteLevelSchema = v.object({
  type: v.literal('ByteLevel'),
  add_prefix_space: v.optional(v.boolean(), true),
  use_regex: v.optional(v.boolean(), true),
});
const sequenceSchema = v.object({
  type: v.literal('Sequence'),
  pretokenizers: v.strictTuple([
    v.object({
      type: v.literal('Split'),
      pattern: v.object({ Regex: v.string() }),
      behavior: v.literal('Isolated'),
      invert: v.optional(v.literal(false), false),
    }),
    byteLevelSchema,
  ]),
});

/** How the text is cut before merging: as GPT-2, or by an expression that is one of those known here. */
function splitOf(preTokenizer: unknown): { pattern: SplitPattern; addPrefixSpace: boolean } {
  const plain = v.safeParse(byteLevelSchema, preTokenizer);
  if (plain.success && plain.output.use_regex) {
    return { pattern: 'gpt2', addPrefixSpace: plain.output.add_prefix_space };
  }
  const sequence = v.safeParse(sequenceSchema, preTokenizer);
  if (sequence.success) {
    const [split, byteLevel] = sequence.output.pretokenizers;
    const pattern = (Object.keys(splitExpressions) as SplitPattern[]).find(
      (name) => splitExpressions[name] === split.pattern.Regex,
    );
    if (pattern && !byteLevel.use_regex) return { pattern, addPrefixSpace: byteLevel.add_prefix_space };
  }
  return refuse(
    `pre_tokenizer is not supported; it must be ByteLevel, or Split by the expression of ${Object.keys(splitExpressions).join(', ')} and then ByteLevel`,
  );
}

function words(
  { added_tokens, normalizer, pre_tokenizer, model }: File,
  names: readonly (string | undefined)[],
): Tokenizer {
  if (model.type !== 'WordLevel') return refuse('model: WordLevel expected');
  if (composesBy(normalizer)) refuse('normalizer of a WordLevel model is not supported');
  if (pre_tokenizer?.type !== 'WhitespaceSplit')
    refuse('pre_tokenizer of a WordLevel model must be WhitespaceSplit; others are not supported');
  const missing = names.indexOf(undefined);
  if (missing >= 0) refuse(`no token has the id ${missing}, although there are higher ones`);
  const special = new Set<number>();
  for (const { id: number, content: name, special: isSpecial } of added_tokens) {
    if (names[number] !== name || !isSpecial)
      refuse(
        `added token ${JSON.stringify(name.slice(0, 40))} must be special and stand in vocab under its id`,
      );
    special.add(number);
  }
  const unknown = model.vocab.get(model.unk_token) ?? -1;
  if (unknown < 0) refuse(`unk_token ${JSON.stringify(model.unk_token.slice(0, 40))} is not in vocab`);
  special.add(unknown);
  const tokenizer = new WordTokenizer({
    words: names as string[],
    specialIds: [...special].sort((a, b) => a - b),
  });
  if (tokenizer.specialTokens.unk === undefined)
    refuse(`unk_token ${JSON.stringify(model.unk_token.slice(0, 40))} is not written as an unknown token is`);
  return tokenizer;
}
