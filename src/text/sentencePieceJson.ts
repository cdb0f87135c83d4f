// tokenizer.json files of SentencePiece's BPE with byte fallback: Llama 2, Mistral, Gemma.
import * as v from 'valibot';
import type { AddedToken } from './bpeDefinition.js';
import type { Merge } from './mergeWord.js';
import { SentencePieceTokenizer, spaceMark } from './sentencePiece.js';
import {
  addedTokens,
  checked,
  content,
  mergeList,
  refuse,
  tokenNames,
  vocab,
} from './tokenizerJsonSchema.js';

const spaces = {
  type: v.literal('Replace'),
  pattern: v.object({ String: v.literal(' ') }),
  content: v.literal(spaceMark),
};
const replaceSpaces = v.object(spaces);
const prependSpace = v.object({ type: v.literal('Prepend'), prepend: v.literal(spaceMark) });
const unknown = 'is not the one of SentencePiece: Prepend "▁" or not, then Replace " " by "▁"';

const decoders = v.object({
  type: v.literal('Sequence'),
  decoders: v.pipe(
    v.array(
      v.variant('type', [
        v.object({ ...spaces, pattern: v.object({ String: v.literal(spaceMark) }), content: v.literal(' ') }),
        v.object({ type: v.literal('ByteFallback') }),
        v.object({ type: v.literal('Fuse') }),
        v.object({
          type: v.literal('Strip'),
          content: v.literal(' '),
          start: v.literal(1),
          stop: v.literal(0),
        }),
      ]),
    ),
    v.check(
      (parts) => /^Replace,ByteFallback,Fuse(,Strip)?$/.test(parts.map(({ type }) => type).join()),
      'must be Replace, ByteFallback, Fuse and perhaps Strip',
    ),
  ),
});

const file = v.object({
  added_tokens: addedTokens,
  normalizer: v.union(
    [
      replaceSpaces,
      v.object({
        type: v.literal('Sequence'),
        normalizers: v.union([v.strictTuple([prependSpace, replaceSpaces]), v.strictTuple([replaceSpaces])]),
      }),
    ],
    unknown,
  ),
  pre_tokenizer: v.nullish(v.null_('must be absent beside byte_fallback')),
  decoder: decoders,
  model: v.object({
    type: v.literal('BPE'),
    vocab,
    merges: mergeList,
    unk_token: v.nullish(content),
    fuse_unk: v.optional(v.boolean(), false),
    byte_fallback: v.literal(true),
    dropout: v.nullish(v.literal(0, 'must be 0')),
    continuing_subword_prefix: v.nullish(v.literal('', 'must be empty')),
    end_of_word_suffix: v.nullish(v.literal('', 'must be empty')),
    ignore_merges: v.nullish(v.literal(false, 'must be false')),
  }),
});

/** The tokenizer of a parsed tokenizer.json whose model is BPE with byte fallback. DataError where something of it is not supported. */
export function readSentencePieceJson(value: unknown): SentencePieceTokenizer {
  const { added_tokens, normalizer, decoder, model } = checked(file, value);
  const names = tokenNames(model.vocab);
  for (const { id, content: name, single_word } of added_tokens) {
    const shown = JSON.stringify(name.slice(0, 40));
    while (names.length <= id) names.push(undefined);
    if ((names[id] ?? name) !== name)
      refuse(`added token ${shown} has the id ${id}, which is another token's`);
    if (single_word) refuse(`added token ${shown} is single_word, which is not supported`);
    names[id] = name;
  }
  const hole = names.indexOf(undefined);
  if (hole >= 0) refuse(`no token has the id ${hole}, although there are higher ones`);
  const byteIds = Array.from({ length: 256 }, (_, byte) => {
    const name = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    const id = model.vocab.get(name);
    // A character of one byte that is a token never falls back.
    if (id === undefined && !(byte < 0x80 && model.vocab.has(String.fromCharCode(byte))))
      refuse(`vocab has no token ${name} to fall back on`);
    return id ?? -1;
  });
  const merges = model.merges.map(([left, right]): Merge => {
    const ids = [left, right, left + right].map((name) => model.vocab.get(name) ?? -1);
    const shown = JSON.stringify(`${left} ${right}`.slice(0, 80));
    if (ids.includes(-1)) refuse(`merge ${shown} is of tokens that are not in vocab`);
    if (/[^▁]▁/.test(left + right))
      refuse(`merge ${shown} reaches from one word into the next, which is not supported`);
    return ids as unknown as Merge;
  });
  return new SentencePieceTokenizer({
    names: names as string[],
    merges,
    byteIds,
    addedTokens: added_tokens.map(({ single_word: _, ...token }): AddedToken => token),
    prependsSpace: normalizer.type === 'Sequence' && normalizer.normalizers.length === 2,
    stripsSpace: decoder.decoders.some(({ type }) => type === 'Strip'),
    file: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added_tokens.map((token) => ({ ...token, normalized: false })),
      normalizer,
      pre_tokenizer: null,
      post_processor: null,
      decoder,
      model: {
        ...model,
        vocab: Object.fromEntries(model.vocab),
        merges: model.merges.map(([left, right]) => [left, right]),
      },
    },
  });
}
