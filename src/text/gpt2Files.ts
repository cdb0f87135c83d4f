import { DataError } from '../errors.js';
import type { BpeTokenizer } from './bpe.js';
import { readTokenizerJson } from './tokenizerJsonReader.js';

/** What GPT-2's own files call the token that parts documents. */
const endOfText = '<|endoftext|>';

/**
 * GPT-2's tokenizer from the texts of its two files, `encoder.json` (names of tokens and their ids) and `vocab.bpe` (a line a
 * merge, behind a line with the version). DataError where they do not go together.
 */
export function gpt2Tokenizer(encoderJson: string, vocabBpe: string): BpeTokenizer {
  let vocab: unknown;
  try {
    vocab = JSON.parse(encoderJson);
  } catch (error) {
    throw new DataError(`encoder.json is no JSON: ${(error as Error).message.slice(0, 120)}`);
  }
  const lines = vocabBpe.split('\n');
  const merges = (lines[0].startsWith('#version') ? lines.slice(1) : lines).filter((line) => line !== '');
  const id = Object.hasOwn(Object(vocab), endOfText)
    ? (vocab as Record<string, unknown>)[endOfText]
    : undefined;
  return readTokenizerJson({
    added_tokens: id === undefined ? [] : [{ id, content: endOfText, special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    model: { type: 'BPE', vocab, merges },
  }) as BpeTokenizer;
}
