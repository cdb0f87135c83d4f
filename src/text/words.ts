import { ConfigError, DataError } from '../errors.js';
import { allocateIds, type TokenIds } from './ids.js';
import {
  type SpecialTokenName,
  type SpecialTokens,
  specialTokenContent,
  specialTokensByContent,
} from './specialTokens.js';
import { isWhiteSpace } from './splitPattern.js';
import {
  checkId,
  encodeWhole,
  type StreamDecoder,
  type StreamEncoder,
  type Tokenizer,
  type TokenizerJson,
} from './tokenizer.js';
import { wordTokenizerJson } from './tokenizerJsonWriter.js';
import { grown, WordTable } from './wordTable.js';

/** All that a words tokenizer is: its words by id, and which of them are special tokens. */
export interface WordDefinition {
  readonly words: readonly string[];
  readonly specialIds: readonly number[];
}

/**
 * One token a word: what stands between white space. Words that are not in the vocabulary become the token unk; decoding
 * puts single spaces between words, so that it gives back the words of a text but not its white space.
 */
export class WordTokenizer implements Tokenizer {
  readonly kind = 'words';
  readonly unit = 'word';
  readonly vocabSize: number;
  readonly specialTokens: SpecialTokens;
  readonly #special: ReadonlySet<number>;
  readonly #table = new WordTable();
  /** Id of a word by its number in the table. */
  readonly #ids: Int32Array;
  readonly #unknown: number;

  /** The definition is trusted: distinct words, unk among the special ones. */
  constructor(readonly definition: WordDefinition) {
    const { words, specialIds } = definition;
    this.vocabSize = words.length;
    this.#special = new Set(specialIds);
    this.specialTokens = specialTokensByContent(new Map(specialIds.map((id) => [words[id], id])));
    this.#unknown = this.specialTokens.unk!;
    this.#ids = new Int32Array(words.length);
    words.forEach((word, id) => {
      if (!this.#special.has(id)) this.#ids[this.#table.add(word)] = id;
    });
  }

  encode(text: string): TokenIds {
    return encodeWhole(this, this.encoder(), text);
  }

  encoder(): StreamEncoder {
    let pending = '';
    const take = (text: string, last: boolean): TokenIds => {
      const buffer = pending + text;
      const ids = allocateIds(this.vocabSize, (buffer.length + 1) >> 1);
      let length = 0;
      const end = splitWords(buffer, last, (from, to) => {
        const found = this.#table.find(buffer, from, to);
        ids[length++] = found < 0 ? this.#unknown : this.#ids[found];
      });
      pending = buffer.slice(end);
      return ids.slice(0, length);
    };
    return { write: (text) => take(text, false), end: () => take('', true) };
  }

  decode(ids: ArrayLike<number>): string {
    return this.decoder().write(ids);
  }

  /** Where special tokens decode to nothing, unk leaves its mark: there was a word. */
  decoder(): StreamDecoder {
    let separator = '';
    return {
      write: (ids) => {
        let text = '';
        for (let i = 0; i < ids.length; i++) {
          checkId(ids[i], this.vocabSize);
          if (this.units(ids[i]) === 0) continue;
          text += separator + this.definition.words[ids[i]];
          separator = ' ';
        }
        return text;
      },
      end: () => '',
    };
  }

  units(id: number): number {
    return id === this.#unknown || !this.#special.has(id) ? 1 : 0;
  }

  toJSON(): TokenizerJson {
    return wordTokenizerJson(this.definition);
  }
}

export interface WordVocabularyOptions {
  /** The most tokens there may be, special ones included; the most frequent words are kept. Default: no limit. */
  readonly vocabSize?: number;
  /** A word that occurs less often is not kept. Default 1. */
  readonly minCount?: number;
  /** Special tokens beside unk, which is always there. */
  readonly specialTokens?: readonly SpecialTokenName[];
}

/** Counts the words of a text that comes in pieces. */
export class WordInventory {
  readonly #words = new WordTable();
  #counts = new Float64Array(1 << 12);
  #pending = '';

  add(text: string): void {
    this.#pending = this.#count(this.#pending + text, false);
  }

  /** What is added next belongs to another text. */
  endText(): void {
    this.#pending = this.#count(this.#pending, true);
  }

  /** Special tokens, then words by falling frequency, equals in the order of their code units. DataError where no word is left. */
  tokenizer({
    vocabSize = 2 ** 31,
    minCount = 1,
    specialTokens = [],
  }: WordVocabularyOptions = {}): WordTokenizer {
    this.endText();
    const special = [...new Set<SpecialTokenName>([...specialTokens, 'unk'])].map(specialTokenContent);
    if (!Number.isSafeInteger(vocabSize) || vocabSize <= special.length) {
      throw new ConfigError(
        `vocabSize of a words tokenizer must be a whole number of at least ${special.length + 1} (${special.join(', ')} and a word), but it is ${vocabSize}`,
        { vocabSize },
      );
    }
    const counted = Array.from({ length: this.#words.size }, (_, i) => ({
      word: this.#words.word(i),
      count: this.#counts[i],
    }))
      .filter(({ word, count }) => count >= minCount && !special.includes(word))
      .sort((a, b) => b.count - a.count || (a.word < b.word ? -1 : 1))
      .slice(0, vocabSize - special.length);
    if (counted.length === 0) {
      throw new DataError(
        `the words tokenizer is built from the words of a text, but of ${this.#words.size} none occurs ${minCount} times`,
        { minCount },
      );
    }
    return new WordTokenizer({
      words: [...special, ...counted.map(({ word }) => word)],
      specialIds: special.map((_, id) => id),
    });
  }

  #count(text: string, last: boolean): string {
    const end = splitWords(text, last, (from, to) => {
      const word = this.#words.add(text, from, to);
      if (word === this.#counts.length) this.#counts = grown(this.#counts, 0);
      this.#counts[word]++;
    });
    return text.slice(end);
  }
}

/** Tells of each word; where more text may follow, one that reaches to the end is left out. Returns where the rest begins. */
function splitWords(text: string, last: boolean, onWord: (start: number, end: number) => void): number {
  let start = -1;
  for (let at = 0; at < text.length; at++) {
    if (isWhiteSpace(text.charCodeAt(at))) {
      if (start >= 0) onWord(start, at);
      start = -1;
    } else if (start < 0) start = at;
  }
  if (start < 0) return text.length;
  if (!last) return start;
  onWord(start, text.length);
  return text.length;
}
