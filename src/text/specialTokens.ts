import * as v from 'valibot';

export const specialTokenNames = ['pad', 'bos', 'eos', 'unk', 'mask', 'sep', 'cls'] as const;
export type SpecialTokenName = (typeof specialTokenNames)[number];

/**
 * Ids of the tokens that stand for no text: padding, begin and end of a text, an unknown word, a masked place, the border
 * between two texts, and the place a classifier looks at. A tokenizer has those its model needs.
 */
export type SpecialTokens = Readonly<Partial<Record<SpecialTokenName, number>>>;

/** How special tokens are written in tokenizer.json files: the first is ours, the others are those of well-known models. */
const contents: Readonly<Record<SpecialTokenName, readonly string[]>> = {
  pad: ['<pad>', '[PAD]', '<|pad|>', '<|padding|>', '<|finetune_right_pad_id|>'],
  bos: ['<s>', '<bos>', '<|begin_of_text|>', '<|startoftext|>', '<|endoftext|>'],
  eos: ['</s>', '<eos>', '<|end_of_text|>', '<|endoftext|>'],
  unk: ['<unk>', '[UNK]', '<|unk|>'],
  mask: ['<mask>', '[MASK]', '<|mask|>'],
  sep: ['<sep>', '[SEP]', '<|sep|>'],
  cls: ['<cls>', '[CLS]', '<|cls|>'],
};

export const specialTokenContent = (name: SpecialTokenName): string => contents[name][0];

/** What special tokens are for, from how they are written. */
export function specialTokensByContent(ids: ReadonlyMap<string, number>): SpecialTokens {
  const found: Partial<Record<SpecialTokenName, number>> = {};
  for (const name of specialTokenNames) {
    const content = contents[name].find((candidate) => ids.has(candidate));
    if (content !== undefined) found[name] = ids.get(content)!;
  }
  return found;
}

/** The ids of special tokens that follow `first` other ids. */
export const specialTokensFrom = (first: number, names: readonly SpecialTokenName[]): SpecialTokens =>
  Object.fromEntries(names.map((name, index) => [name, first + index]));

/** Special tokens that a tokenizer without a file format of its own keeps, in the order of their ids. */
export const specialTokensJson = v.optional(
  v.pipe(
    v.array(v.picklist(specialTokenNames)),
    v.check((names) => new Set(names).size === names.length, 'must be distinct names'),
  ),
);
