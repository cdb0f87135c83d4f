/** Cuts a text that comes in pieces at the first of some strings, and holds back what may be the beginning of one. */
export class StopStrings {
  private held = '';

  /** Empty strings stop nothing. */
  constructor(private readonly strings: readonly string[]) {
    this.strings = strings.filter(Boolean);
  }

  /** The text that is certain once `piece` has come; `stopped` where a string was found, whose text is dropped. */
  write(piece: string): { text: string; stopped: boolean } {
    const all = this.held + piece;
    const places = this.strings.map((stop) => all.indexOf(stop)).filter((place) => place >= 0);
    if (places.length > 0) {
      this.held = '';
      return { text: all.slice(0, Math.min(...places)), stopped: true };
    }
    const certain = all.length - this.beginningAt(all);
    this.held = all.slice(certain);
    return { text: all.slice(0, certain), stopped: false };
  }

  /** What was held back when no more text comes. */
  end(): string {
    const text = this.held;
    this.held = '';
    return text;
  }

  /** The longest end of `text` that begins a stop string. */
  private beginningAt(text: string): number {
    const longest = Math.max(0, ...this.strings.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.strings.some((stop) => stop.length > length && stop.startsWith(end))) return length;
    }
    return 0;
  }
}
