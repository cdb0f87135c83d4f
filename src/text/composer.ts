/** Texts of which nothing can be told apart this long are composed in parts: no such text is written. */
const longest = 1 << 14;

/**
 * Unicode's composed form (NFC, Unicode Standard Annex #15) of a text that comes in pieces: the same whatever the pieces are, for all
 * texts with a character now and then that never composes with the one before it, such as a Latin letter, a space or an ideograph.
 */
export class Composer {
  #pending = '';

  /** Takes a piece and gives what is certain by now; all that is left where it is the `last`. */
  write(text: string, last: boolean): string {
    const buffer = this.#pending + text;
    const end = last ? buffer.length : lastBoundary(buffer);
    this.#pending = buffer.slice(end);
    return buffer.slice(0, end).normalize('NFC');
  }
}

/** The last place where a text can be cut without a change to its composed form. */
function lastBoundary(text: string): number {
  for (let at = text.length - 1; at >= 0; at--) {
    if (isStarter(text.charCodeAt(at))) return at;
    if (text.length - at >= longest && (text.charCodeAt(at) & 0xfc00) !== 0xdc00) return at;
  }
  return 0;
}

/** Whether a code unit is a character that begins a composition and never continues one: all before combining accents, and ideographs. */
const isStarter = (unit: number): boolean => unit < 0x300 || (unit >= 0x4e00 && unit < 0xa000);
