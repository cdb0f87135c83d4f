import type { AddedToken } from './bpeDefinition.js';
import type { TokenIds } from './ids.js';
import { type PieceEnd, splitPieces } from './splitPattern.js';
import type { StreamEncoder } from './tokenizer.js';
import type { WordEncoder } from './wordEncoder.js';

export interface SectionRules {
  readonly addedTokens: readonly AddedToken[];
  readonly pieceEnd: PieceEnd;
  /** When a space is put before the text, and before what follows an added token. */
  readonly prefix: 'never' | 'where missing' | 'always';
}

/** The tokens of a text that comes in pieces, each piece `prepared` first where something has to be done to it. */
export function sectionEncoder(
  rules: SectionRules,
  words: WordEncoder,
  vocabSize: number,
  prepared: (text: string, last: boolean) => string = (text) => text,
): StreamEncoder {
  const sections = new Sections(rules, words);
  const take = (text: string, last: boolean): TokenIds => {
    sections.write(prepared(text, last), last);
    return words.take(vocabSize);
  };
  return { write: (text) => take(text, false), end: () => take('', true) };
}

/** Cuts a text that comes in pieces at added tokens, and what lies between them into words. */
class Sections {
  readonly #words: WordEncoder;
  readonly #pieceEnd: PieceEnd;
  readonly #prefix: SectionRules['prefix'];
  readonly #added: ReadonlyMap<string, AddedToken>;
  /** Finds the longest added token at the first place where there is one; the contents are escaped, so it is linear. */
  readonly #pattern: RegExp | undefined;
  /** Characters behind a place that decide whether an added token begins there. */
  readonly #reach: number;
  #pending = '';
  #atStart = true;

  constructor({ addedTokens, pieceEnd, prefix }: SectionRules, words: WordEncoder) {
    const matched = addedTokens.filter(({ special }) => !special);
    this.#words = words;
    this.#pieceEnd = pieceEnd;
    this.#prefix = prefix;
    this.#added = new Map(matched.map((token) => [token.content, token]));
    const contents = [...this.#added.keys()].sort((a, b) => b.length - a.length);
    this.#reach = contents[0]?.length ?? 0;
    if (contents.length > 0) this.#pattern = new RegExp(contents.map(escapeExpression).join('|'), 'g');
  }

  write(text: string, last: boolean): void {
    let buffer = this.#pending + text;
    for (;;) {
      if (this.#atStart && buffer !== '' && this.#wantsPrefix(buffer)) buffer = ` ${buffer}`;
      if (buffer !== '') this.#atStart = false;
      const found = this.#find(buffer, last);
      if (found.id < 0) {
        this.#pending = buffer.slice(this.#encode(buffer, found.from, last));
        return;
      }
      this.#encode(buffer, found.from, true);
      this.#words.push(found.id);
      buffer = buffer.slice(found.to);
      this.#atStart = true;
    }
  }

  #wantsPrefix(buffer: string): boolean {
    return this.#prefix === 'always' || (this.#prefix === 'where missing' && buffer[0] !== ' ');
  }

  #encode(buffer: string, end: number, last: boolean): number {
    return splitPieces(this.#pieceEnd, buffer, 0, end, last, (from, to) =>
      this.#words.encode(buffer, from, to),
    );
  }

  /**
   * Where the first added token begins and ends, with the white space it takes in; without one that no more text can change
   * `id` is -1, and up to `from` there is none.
   */
  #find(buffer: string, last: boolean): { from: number; to: number; id: number } {
    const known = last ? buffer.length : Math.max(0, buffer.length + 1 - Math.max(1, this.#reach));
    if (!this.#pattern) return { from: known, to: known, id: -1 };
    this.#pattern.lastIndex = 0;
    const match = this.#pattern.exec(buffer);
    if (!match || match.index >= known) return { from: known, to: known, id: -1 };
    const { id, lstrip, rstrip } = this.#added.get(match[0])!;
    const end = match.index + match[0].length;
    const from = lstrip ? buffer.slice(0, match.index).trimEnd().length : match.index;
    const to = rstrip ? buffer.length - buffer.slice(end).trimStart().length : end;
    return { from, to, id: rstrip && !last && to === buffer.length ? -1 : id };
  }
}

const escapeExpression = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
