// Tokenizers as the tokenizer.json files of Hugging Face's libraries, which read them as they are.
import type { AddedToken, BpeDefinition } from './bpeDefinition.js';
import { byteLevelText } from './byteLevel.js';
import { specialTokenContent } from './specialTokens.js';
import { splitExpressions } from './splitPattern.js';
import type { TokenizerJson } from './tokenizer.js';
import type { WordDefinition } from './words.js';

const common = (addedTokens: readonly AddedToken[]) => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [...addedTokens]
    .sort((a, b) => a.id - b.id)
    .map(({ id, content, special, lstrip, rstrip }) => ({
      id,
      content,
      single_word: false,
      lstrip,
      rstrip,
      normalized: false,
      special,
    })),
  normalizer: null,
});

export function bpeTokenizerJson(definition: BpeDefinition): TokenizerJson {
  const { tokens, merges, addedTokens, pattern, composes, addPrefixSpace, ignoreMerges } = definition;
  const names = tokens.map((token) => token && byteLevelText(token));
  const byteLevel = (useRegex: boolean) => ({
    type: 'ByteLevel',
    add_prefix_space: addPrefixSpace,
    trim_offsets: false,
    use_regex: useRegex,
  });
  const split = {
    type: 'Split',
    pattern: { Regex: splitExpressions[pattern] },
    behavior: 'Isolated',
    invert: false,
  };
  return {
    ...common(addedTokens),
    normalizer: composes ? { type: 'NFC' } : null,
    pre_tokenizer:
      pattern === 'gpt2' ? byteLevel(true) : { type: 'Sequence', pretokenizers: [split, byteLevel(false)] },
    post_processor: null,
    decoder: byteLevel(true),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: ignoreMerges,
      vocab: Object.fromEntries(names.flatMap((name, id) => (name === undefined ? [] : [[name, id]]))),
      merges: merges.map(([left, right]) => `${names[left]} ${names[right]}`),
    },
  };
}

export function wordTokenizerJson({ words, specialIds }: WordDefinition): TokenizerJson {
  const specials = specialIds.map((id) => ({
    id,
    content: words[id],
    special: true,
    lstrip: false,
    rstrip: false,
  }));
  return {
    ...common(specials),
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: {
      type: 'WordLevel',
      vocab: Object.fromEntries(words.map((word, id) => [word, id])),
      unk_token: specialTokenContent('unk'),
    },
  };
}
