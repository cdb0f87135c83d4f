/**
 * The cleaning rules of text8 (Matt Mahoney, "About the test data", wikifil.pl, 2006) for any text: lower-case a-z and single
 * spaces, digits spelt out, mark-up dropped but the text of links and image captions kept.
 *
 * The original rewrites a whole article by one regular expression after the other. Here one scanner goes over the text once.
 * What it does at a character depends on at most `reach` characters that follow, so the result is the same however the
 * text is cut into pieces, memory is bounded, and so is time: each search is remembered until it is passed. It departs from
 * the original where that was written for one dump only: nested {{templates}} and comments are dropped whole, file: and
 * https: are known too, an entity has at most 32 characters, and a `<` that opens no tag is no mark-up.
 */
const reach = 1 << 16;
const batch = 4 * reach;

const [space, hash, ampersand, exclamation, slash, colon, semicolon] = codes(' #&!/:;');
const [less, hyphen, bracketOpen, bracketClose, braceOpen, braceClose, bar] = codes('<-[]{}|');
const digits = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'].map((word) =>
  codes(word),
);
const longestSpelling = 6; // ' three'

function codes(characters: string): number[] {
  return Array.from(characters, (character) => character.charCodeAt(0));
}

const isLower = (code: number): boolean => code >= 97 && code <= 122;
const isLetter = (code: number): boolean => isLower(code | 32);
const isDigit = (code: number): boolean => code >= 48 && code <= 57;

/** Cleans a text that comes in pieces; the pieces that come back hold neither leading, trailing nor double spaces together. */
export class Text8Cleaner {
  #undecoded = '';
  #buffer = '';
  #brace: Int32Array | undefined;
  readonly #found = new Map<string, number>();
  #output = Buffer.alloc(0);
  #written = 0;
  #spacePending = false;
  #begun = false;

  /** Takes a piece and gives what is certain by now. */
  write(piece: string): string {
    let cleaned = '';
    for (let start = 0; start < piece.length; start += reach) {
      const { decoded, rest } = decodeEntities(this.#undecoded + piece.slice(start, start + reach), false);
      this.#undecoded = rest;
      this.#buffer += decoded;
      if (this.#buffer.length >= batch - reach) cleaned += this.#scan(false);
    }
    return cleaned;
  }

  /** Gives what is left when no more pieces come. The cleaner can then begin another text. */
  end(): string {
    this.#buffer += decodeEntities(this.#undecoded, true).decoded;
    const cleaned = this.#scan(true);
    this.#undecoded = '';
    this.#spacePending = false;
    this.#begun = false;
    return cleaned;
  }

  #scan(last: boolean): string {
    const text = this.#buffer;
    const stop = last ? text.length : text.length - reach;
    this.#found.clear();
    this.#brace = undefined;
    this.#output = Buffer.allocUnsafe(text.length * longestSpelling);
    this.#written = 0;
    let i = 0;
    while (i < stop) i = this.#step(text, i);
    this.#buffer = text.slice(i);
    return this.#output.toString('latin1', 0, this.#written);
  }

  /** Deals with what stands at `i` and returns where to go on. */
  #step(text: string, i: number): number {
    const code = text.charCodeAt(i);
    if (code === less) return this.#tag(text, i);
    if (code === bracketOpen) return this.#link(text, i);
    if (code === bracketClose) return i + 1;
    if (code === braceOpen) return this.#template(text, i);
    if (code === ampersand) return this.#entity(text, i);
    if (code === bar) return this.#imageOption(text, i);
    this.#emit(code);
    return i + 1;
  }

  #emit(code: number): void {
    if (isLetter(code)) this.#letter(code | 32);
    else {
      this.#spacePending = true;
      if (!isDigit(code)) return;
      for (const letter of digits[code - 48]) this.#letter(letter);
      this.#spacePending = true;
    }
  }

  #letter(code: number): void {
    if (this.#spacePending && this.#begun) this.#output[this.#written++] = space;
    this.#spacePending = false;
    this.#begun = true;
    this.#output[this.#written++] = code;
  }

  #literal(i: number): number {
    this.#spacePending = true;
    return i + 1;
  }

  /** Where `wanted` next stands at or after `from`, Infinity where it is not within reach of `i`. */
  #next(text: string, wanted: string, from: number, i: number): number {
    let at = this.#found.get(wanted) ?? -1;
    if (at < from) {
      at = text.indexOf(wanted, from);
      if (at < 0) at = Number.POSITIVE_INFINITY;
      this.#found.set(wanted, at);
    }
    return at + wanted.length <= i + reach ? at : Number.POSITIVE_INFINITY;
  }

  /** <tags>, <!-- comments --> and <ref>references</ref>. */
  #tag(text: string, i: number): number {
    const following = text.charCodeAt(i + 1);
    if (!isLetter(following) && following !== slash && following !== exclamation) return this.#literal(i);
    if (text.startsWith('<!--', i)) {
      const end = this.#next(text, '-->', i + 4, i);
      if (end < Number.POSITIVE_INFINITY) return end + 3;
    }
    if (text.startsWith('<ref', i)) {
      const end = this.#next(text, '<', i + 1, i);
      if (text.startsWith('</ref>', end) && end + 6 <= i + reach) return end + 6;
    }
    const end = this.#next(text, '>', i + 1, i);
    return end < Number.POSITIVE_INFINITY ? end + 1 : this.#literal(i);
  }

  /** {templates} and {tables}, with those inside them. */
  #template(text: string, i: number): number {
    this.#brace ??= matchBraces(text);
    const end = this.#brace[i];
    return end > 0 && end <= i + reach ? end : this.#literal(i);
  }

  /** &names; and &#numbers; */
  #entity(text: string, i: number): number {
    let end = i + 1;
    if (text.charCodeAt(end) === hash) end++;
    const limit = i + 32;
    while (end < limit && (isLetter(text.charCodeAt(end)) || isDigit(text.charCodeAt(end)))) end++;
    this.#spacePending = true;
    return text.charCodeAt(end) === semicolon ? end + 1 : i + 1;
  }

  /** |thumb, |left, |right and |120px of an image link. */
  #imageOption(text: string, i: number): number {
    const option = /^\|(?:thumb|left|right|\d{1,6}px)(?![a-z])/i.exec(text.slice(i, i + 10));
    this.#spacePending = true;
    return option ? i + option[0].length : i + 1;
  }

  #link(text: string, i: number): number {
    if (text.charCodeAt(i + 1) !== bracketOpen) return this.#externalLink(text, i);
    const begin = i + 2;
    const close = this.#next(text, ']', begin, i);
    const name = text.slice(begin, begin + 9).toLowerCase();
    if (name.startsWith('image:') || name.startsWith('file:')) return this.#imageLink(text, i, close);
    if (name === 'category:') return this.#categoryLink(text, i, close);
    if (isOtherLanguage(text, begin) && text.charCodeAt(close + 1) === bracketClose) return close + 2;
    const divider = this.#next(text, '|', begin, i);
    return divider < close && close < Number.POSITIVE_INFINITY ? divider + 1 : begin;
  }

  /** [http://address text] keeps the text. */
  #externalLink(text: string, i: number): number {
    if (!/^(?:https?|ftp):/.test(text.slice(i + 1, i + 7))) return i + 1;
    const end = Math.min(...[' ', '\n', ']'].map((character) => this.#next(text, character, i + 1, i)));
    return end < Number.POSITIVE_INFINITY ? end : i + 1;
  }

  /** [[image:name|options|caption]] keeps the caption, which may hold links; the last option is left to `#imageOption`. */
  #imageLink(text: string, i: number, close: number): number {
    const stop = Math.min(close, this.#next(text, '[', i + 2, i));
    if (stop === Number.POSITIVE_INFINITY) return i + 2;
    let lastBar = -1;
    for (let at = this.#next(text, '|', i + 2, i); at < stop; at = this.#next(text, '|', at + 1, i))
      lastBar = at;
    if (lastBar > 0) return lastBar;
    return stop === close ? close + 1 : i + 2;
  }

  /** [[category:name|sort key]] keeps the name. */
  #categoryLink(text: string, i: number, close: number): number {
    const begin = i + 11;
    if (close === Number.POSITIVE_INFINITY) return begin;
    const end = Math.min(close, this.#next(text, '|', begin, i));
    for (let at = begin; at < end; at++) this.#emit(text.charCodeAt(at));
    return close;
  }
}

/** [[de:Name]] and other prefixes in lower case. */
function isOtherLanguage(text: string, begin: number): boolean {
  let end = begin;
  const limit = begin + 32;
  while (end < limit && (isLower(text.charCodeAt(end)) || text.charCodeAt(end) === hyphen)) end++;
  return text.charCodeAt(end) === colon;
}

/** For every `{` the place behind its `}`, 0 where it has none. */
function matchBraces(text: string): Int32Array {
  const ends = new Int32Array(text.length);
  const open: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === braceOpen) open.push(i);
    else if (code === braceClose && open.length > 0) ends[open.pop()!] = i + 1;
  }
  return ends;
}

/** A dump escapes its mark-up once, and `&` within it once more. No match is longer than eight characters. */
function decodeEntities(text: string, last: boolean): { decoded: string; rest: string } {
  const unfinished = last ? -1 : text.indexOf('&', Math.max(0, text.length - 7));
  const cut = unfinished < 0 ? text.length : unfinished;
  const decoded = text
    .slice(0, cut)
    .replace(/&(?:amp;)?([lg])t;|&amp;/g, (_, which) => (which ? (which === 'l' ? '<' : '>') : '&'));
  return { decoded, rest: text.slice(cut) };
}

/** Cleans a whole text by the rules of text8. The result holds only a-z and single spaces, none at its ends. */
export function cleanText8(text: string): string {
  const cleaner = new Text8Cleaner();
  return cleaner.write(text) + cleaner.end();
}

/** Cleans a text that comes in pieces; empty pieces are left out. */
export async function* cleanPieces(pieces: AsyncIterable<string>): AsyncGenerator<string> {
  const cleaner = new Text8Cleaner();
  for await (const piece of pieces) {
    const cleaned = cleaner.write(piece);
    if (cleaned !== '') yield cleaned;
  }
  const rest = cleaner.end();
  if (rest !== '') yield rest;
}
