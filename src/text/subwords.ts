import { Tokenizer as Library } from '@huggingface/tokenizers';
import { allocateIds, type TokenIds } from './ids.js';
import { type SpecialTokens, specialTokensByContent } from './specialTokens.js';
import type { PreTokenizer, SubwordDecoder, SubwordFile } from './subwordJson.js';
import {
  checkId,
  encodeWhole,
  type StreamDecoder,
  type StreamEncoder,
  type Tokenizer,
  type TokenizerJson,
} from './tokenizer.js';

/** A stretch of text without a place to cut it, such as a paragraph of Chinese, is cut here, and begins a word there. */
const longestStretch = 1 << 14;
/** Words whose tokens are remembered, and how long they may be. */
const cachedWords = 1 << 16;
const longestCached = 64;

export interface SubwordDefinition {
  /** Checked. */
  readonly file: SubwordFile;
  /** By id. */
  readonly names: readonly string[];
  /** Ids that stand for no text, and unk. */
  readonly special: ReadonlySet<number>;
  readonly unk: number;
  readonly pretokenizers: readonly PreTokenizer[];
}

/**
 * WordPiece (Wu et al. 2016) and Unigram (Kudo 2018) as a tokenizer.json describes them, run by Hugging Face's library. Texts are cut
 * before white space, and the tokens of frequent words are remembered. Decoding gives the text as normalised, in lower case for example.
 */
export class SubwordTokenizer implements Tokenizer {
  readonly kind: 'wordpiece' | 'unigram';
  readonly unit = 'character';
  readonly vocabSize: number;
  readonly specialTokens: SpecialTokens;
  readonly #library: Library;
  readonly #cache = new Map<string, readonly number[]>();
  /** What a token stands for at the beginning of a text, and later. */
  readonly #first: readonly string[];
  readonly #later: readonly string[];
  /** Characters of the latter. */
  readonly #units: Uint32Array;
  /** Whether every white space parts words, or only ' '. */
  readonly #cutsAtWhiteSpace: boolean;

  /** The definition is trusted: `readSubwordJson` makes it. */
  constructor(private readonly definition: SubwordDefinition) {
    const { file, names, special, unk, pretokenizers } = definition;
    this.kind = file.model.type === 'WordPiece' ? 'wordpiece' : 'unigram';
    this.vocabSize = names.length;
    this.specialTokens = {
      ...specialTokensByContent(new Map([...special].map((id) => [names[id], id]))),
      unk,
    };
    this.#library = new Library(libraryJson(definition), {});
    const text = (id: number, isFirst: boolean) =>
      special.has(id) && id !== unk ? '' : decodedToken(names[id], isFirst, file.decoder);
    this.#first = names.map((_, id) => text(id, true));
    this.#later = names.map((_, id) => text(id, false));
    this.#units = Uint32Array.from(this.#later, charactersIn);
    this.#cutsAtWhiteSpace = pretokenizers.some(({ type }) => type !== 'Metaspace');
  }

  encode(text: string): TokenIds {
    return encodeWhole(this, this.encoder(), text);
  }

  encoder(): StreamEncoder {
    let pending = '';
    const take = (text: string, last: boolean): TokenIds => {
      const buffer = pending + text;
      const ids: number[] = [];
      let at = 0;
      for (;;) {
        const end = this.#cut(buffer, at);
        if (end < 0) break;
        for (const id of this.#encodeWord(buffer.slice(at, end))) ids.push(id);
        at = end;
      }
      pending = buffer.slice(at);
      if (last && pending !== '') {
        for (const id of this.#encodeWord(pending)) ids.push(id);
        pending = '';
      }
      const found = allocateIds(this.vocabSize, ids.length);
      found.set(ids);
      return found;
    };
    return { write: (text) => take(text, false), end: () => take('', true) };
  }

  decode(ids: ArrayLike<number>): string {
    return this.decoder().write(ids);
  }

  /** Special tokens decode to nothing; unk leaves its mark. */
  decoder(): StreamDecoder {
    let texts = this.#first;
    return {
      write: (ids) => {
        let text = '';
        for (let i = 0; i < ids.length; i++) {
          checkId(ids[i], this.vocabSize);
          if (this.#units[ids[i]] === 0) continue;
          text += texts[ids[i]];
          texts = this.#later;
        }
        return text;
      },
      end: () => '',
    };
  }

  units(id: number): number {
    return this.#units[id];
  }

  /** As in the file, but for what puts special tokens round a text. */
  toJSON(): TokenizerJson {
    const { model, ...file } = this.definition.file;
    const vocab = model.type === 'WordPiece' ? Object.fromEntries(model.vocab) : model.vocab;
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      post_processor: null,
      ...file,
      model: { ...model, vocab },
    };
  }

  /** Where the white space and the word that begin at `start` end, if more text can change nothing of it; else -1. */
  #cut(text: string, start: number): number {
    const limit = start + longestStretch;
    let at = start;
    while (at < text.length && at < limit && this.#isSpace(text.charCodeAt(at))) at++;
    while (at < text.length && at < limit && !this.#isSpace(text.charCodeAt(at))) at++;
    if (at === text.length) return -1;
    const partsCharacter = at === limit && (text.charCodeAt(at) & 0xfc00) === 0xdc00;
    return partsCharacter ? at - 1 : at;
  }

  /** White space that every normalizer keeps or turns into ' '. */
  #isSpace(code: number): boolean {
    return code === 32 || (this.#cutsAtWhiteSpace && (code === 10 || code === 13 || code === 9));
  }

  #encodeWord(word: string): readonly number[] {
    const cached = this.#cache.get(word);
    if (cached) return cached;
    const { ids } = this.#library.encode(word, { add_special_tokens: false });
    if (word.length <= longestCached) {
      if (this.#cache.size >= cachedWords) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }
}

function charactersIn(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/**
 * What the library is given. Special tokens are never made from a text: they are no added tokens there, and have names with a space in
 * them, which no word has.
 */
function libraryJson({ file, names, special, unk, pretokenizers }: SubwordDefinition): object {
  const hidden = (id: number): string => (special.has(id) ? `special ${id}` : names[id]);
  const { model, normalizer } = file;
  const given =
    model.type === 'WordPiece'
      ? {
          ...model,
          vocab: Object.fromEntries([...model.vocab.values()].map((id) => [hidden(id), id])),
          unk_token: hidden(unk),
        }
      : { ...model, vocab: model.vocab.map(([, score], id) => [hidden(id), score]) };
  return {
    added_tokens: file.added_tokens.filter(({ id }) => !special.has(id)),
    normalizer: normalizer ?? null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: pretokenizers.map(unicodeWords) },
    post_processor: null,
    decoder: null,
    model: given,
  };
}

/** The library's own Whitespace takes letters beyond ASCII for signs; its expressions do not. */
const unicodeWords = (part: PreTokenizer): object =>
  part.type === 'Whitespace'
    ? { type: 'Split', pattern: { Regex: '\\w+|[^\\w\\s]+' }, behavior: 'Removed', invert: true }
    : part;

/** The text of a token, as the decoders of Hugging Face's tokenizers have it. */
function decodedToken(name: string, isFirst: boolean, decoder: SubwordDecoder | null | undefined): string {
  if (decoder?.type === 'Metaspace')
    return name.replaceAll('▁', isFirst && decoder.prepend_scheme !== 'never' ? '' : ' ');
  if (isFirst) return tidied(name, decoder);
  if (decoder && name.startsWith(decoder.prefix)) return tidied(name.slice(decoder.prefix.length), decoder);
  return tidied(` ${name}`, decoder);
}

/** Without spaces before signs and English endings. */
const tidied = (text: string, decoder: SubwordDecoder | null | undefined): string =>
  decoder?.type === 'WordPiece' && decoder.cleanup
    ? text.replace(/ ([.?!,])/g, '$1').replace(/ (n't|'m|'s|'ve|'re)/g, '$1')
    : text;
