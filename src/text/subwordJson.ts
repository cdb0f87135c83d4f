// tokenizer.json files with a WordPiece or Unigram model. They are run by Hugging Face's own library for JavaScript, but only what is
// known here to give a whole text's tokens word by word, and without expressions out of the file, whose time nobody could bound.
import * as v from 'valibot';
import { SubwordTokenizer } from './subwords.js';
import {
  addedTokens,
  checked,
  content,
  id,
  mostTokens,
  refuse,
  tokenNames,
  vocab,
} from './tokenizerJsonSchema.js';

/** The library keeps a Unigram vocabulary as a tree of characters, some 150 bytes each. */
const mostCharacters = 2 ** 22;

const named = <Name extends string>(type: Name) => v.object({ type: v.literal(type) });
const shortText = v.pipe(v.string(), v.maxLength(100));
const space = v.optional(v.literal('▁', 'must be ▁'), '▁');
const scheme = {
  replacement: space,
  prepend_scheme: v.optional(v.picklist(['always', 'first', 'never']), 'always'),
  add_prefix_space: v.optional(v.literal(true, 'must be true'), true),
  str_rep: space,
  split: v.optional(v.literal(true, 'must be true'), true),
};

const normalizer = v.variant('type', [
  v.object({
    type: v.literal('BertNormalizer'),
    clean_text: v.optional(v.boolean(), true),
    handle_chinese_chars: v.optional(v.boolean(), true),
    strip_accents: v.nullish(v.boolean()),
    lowercase: v.optional(v.boolean(), true),
  }),
  named('NFC'),
  named('NFD'),
  named('NFKC'),
  named('NFKD'),
  named('Lowercase'),
  named('StripAccents'),
  v.object({ type: v.literal('Precompiled'), precompiled_charsmap: v.nullish(v.string()) }),
  // At the end of a text only: what its words begin with must stay.
  v.object({
    type: v.literal('Strip'),
    strip_left: v.literal(false, 'must be false'),
    strip_right: v.boolean(),
  }),
  v.object({
    type: v.literal('Replace'),
    pattern: v.union(
      [
        v.object({ Regex: v.literal(' {2,}') }),
        v.object({
          String: v.pipe(
            shortText,
            v.minLength(1),
            v.regex(/^\s*\S*$/, 'must not reach from one word to the next'),
          ),
        }),
      ],
      'must be a string within a word, or the expression " {2,}"',
    ),
    content: shortText,
  }),
]);
const preTokenizer = v.variant('type', [
  named('BertPreTokenizer'),
  named('Whitespace'),
  named('WhitespaceSplit'),
  v.object({ type: v.literal('Metaspace'), ...scheme }),
]);
const decoder = v.variant('type', [
  v.object({
    type: v.literal('WordPiece'),
    prefix: v.optional(shortText, '##'),
    cleanup: v.optional(v.boolean(), true),
  }),
  v.object({ type: v.literal('Metaspace'), ...scheme }),
]);

const piece = v.strictTuple([content, v.pipe(v.number(), v.finite())]);
const file = v.object({
  added_tokens: addedTokens,
  normalizer: v.nullish(
    v.variant('type', [
      normalizer,
      v.object({ type: v.literal('Sequence'), normalizers: v.pipe(v.array(normalizer), v.maxLength(16)) }),
    ]),
  ),
  pre_tokenizer: v.variant('type', [
    preTokenizer,
    v.object({ type: v.literal('Sequence'), pretokenizers: v.pipe(v.array(preTokenizer), v.maxLength(4)) }),
  ]),
  decoder: v.nullish(decoder),
  model: v.variant('type', [
    v.object({
      type: v.literal('WordPiece'),
      vocab,
      unk_token: content,
      continuing_subword_prefix: v.optional(shortText, '##'),
      // Time grows with its square.
      max_input_chars_per_word: v.optional(
        v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(200)),
        100,
      ),
    }),
    v.object({
      type: v.literal('Unigram'),
      vocab: v.pipe(v.array(piece), v.maxLength(mostTokens)),
      unk_id: id,
      byte_fallback: v.optional(v.literal(false, 'must be false'), false),
    }),
  ]),
});

/** A checked file. */
export type SubwordFile = v.InferOutput<typeof file>;
export type PreTokenizer = v.InferOutput<typeof preTokenizer>;
export type SubwordDecoder = v.InferOutput<typeof decoder>;

/** The tokenizer of a parsed tokenizer.json whose model is WordPiece or Unigram. DataError where something of it is not supported. */
export function readSubwordJson(value: unknown): SubwordTokenizer {
  const checkedFile = checked(file, value);
  const { added_tokens, model } = checkedFile;
  const pretokenizers =
    checkedFile.pre_tokenizer.type === 'Sequence'
      ? checkedFile.pre_tokenizer.pretokenizers
      : [checkedFile.pre_tokenizer];
  checkCuts(model.type, pretokenizers);
  const ids =
    model.type === 'WordPiece' ? model.vocab : new Map(model.vocab.map(([name], number) => [name, number]));
  if (model.type === 'Unigram' && ids.size < model.vocab.length) refuse('vocab names a token twice');
  if ([...ids.keys()].reduce((sum, { length }) => sum + length, 0) > mostCharacters)
    refuse(`the tokens of vocab have more than ${mostCharacters} characters together`);
  const names = tokenNames(ids);
  const special = new Set<number>();
  for (const token of added_tokens) {
    const shown = JSON.stringify(token.content.slice(0, 40));
    while (names.length <= token.id) names.push(undefined);
    if ((names[token.id] ?? token.content) !== token.content)
      refuse(`added token ${shown} has the id ${token.id}, which is another token's`);
    if (token.special) special.add(token.id);
    else if (token.lstrip || token.rstrip || token.single_word || /\s/.test(token.content))
      refuse(`added token ${shown} reaches beyond a word or asks for one, which is not supported`);
    names[token.id] = token.content;
  }
  const missing = names.indexOf(undefined);
  if (missing >= 0) refuse(`no token has the id ${missing}, although there are higher ones`);
  const unk = model.type === 'WordPiece' ? model.vocab.get(model.unk_token) : model.unk_id;
  if (unk === undefined || unk >= ids.size) return refuse('the unknown token is not in vocab');
  special.add(unk);
  return new SubwordTokenizer({ file: checkedFile, names: names as string[], special, unk, pretokenizers });
}

/** Words must be parted alike whether a text comes whole or in pieces. */
function checkCuts(model: SubwordFile['model']['type'], pretokenizers: readonly PreTokenizer[]): void {
  const kinds = pretokenizers.map(({ type }) => type);
  const scheme = pretokenizers.find((part) => part.type === 'Metaspace')?.prepend_scheme;
  if (model === 'WordPiece') {
    if (scheme !== undefined || kinds.length === 0)
      refuse('pre_tokenizer of a WordPiece model must be BertPreTokenizer, Whitespace or WhitespaceSplit');
  } else {
    if (scheme === undefined || kinds.indexOf('Metaspace') < kinds.length - 1)
      refuse('pre_tokenizer of a Unigram model must be Metaspace, or end with it');
    if (kinds.length > 1 && scheme !== 'always')
      refuse('pre_tokenizer: prepend_scheme must be always where another comes before Metaspace');
  }
}
