// How byte-level BPE cuts a text into pieces before it merges. The patterns are those of published models, each as a scanner
// that reads a text once from left to right: a regular expression out of a file could take exponential time.

/** The published expressions, to recognise them in tokenizer.json files and to write them there. */
export const splitExpressions = {
  gpt2: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  llama3: String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  qwen2: String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
} as const;

export type SplitPattern = keyof typeof splitExpressions;

/** Where the piece ends that begins at `start`, in a text that ends at `end`; always beyond `start`. */
export type PieceEnd = (text: string, start: number, end: number) => number;

export const pieceEnds: Readonly<Record<SplitPattern, PieceEnd>> = {
  gpt2: gpt2PieceEnd,
  llama3: (text, start, end) => laterPieceEnd(text, start, end, 3),
  qwen2: (text, start, end) => laterPieceEnd(text, start, end, 1),
};

/**
 * Cuts `text` from `start` on and tells `onPiece` of each piece. Where more text may follow (`last` is false), the pieces that
 * it could change are left out. Returns where the last piece ended.
 */
export function splitPieces(
  pieceEnd: PieceEnd,
  text: string,
  start: number,
  end: number,
  last: boolean,
  onPiece: (start: number, end: number) => void,
): number {
  // A piece depends on at most two characters behind it ('r may become 're), or on all of the white space there.
  let limit = end;
  if (!last) {
    while (limit > start && isWhiteSpace(text.charCodeAt(limit - 1))) limit--;
    limit = Math.min(limit - 1, end - 2);
  }
  let at = start;
  while (at < limit) {
    const next = pieceEnd(text, at, end);
    if (next > limit) break;
    onPiece(at, next);
    at = next;
  }
  return at;
}

const letter = 1;
const number = 2;
const space = 3;
const other = 4;

/** Class of each code point, 0 where it is not known yet. */
const classes = new Uint8Array(0x110000);
// \s of the published expressions is Unicode's White_Space, not that of JavaScript.
const whiteSpace = /[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

function classify(codePoint: number): number {
  const character = String.fromCodePoint(codePoint);
  const found = /\p{L}/u.test(character)
    ? letter
    : /\p{N}/u.test(character)
      ? number
      : whiteSpace.test(character)
        ? space
        : other;
  classes[codePoint] = found;
  return found;
}

const classOf = (codePoint: number): number => classes[codePoint] || classify(codePoint);

/** Whether a code unit is white space in Unicode's sense. */
export const isWhiteSpace = (unit: number): boolean => classOf(unit) === space;

function runEnd(text: string, start: number, end: number, wanted: number): number {
  let at = start;
  while (at < end) {
    const codePoint = text.codePointAt(at)!;
    if (classOf(codePoint) !== wanted) break;
    at += codePoint > 0xffff ? 2 : 1;
  }
  return at;
}

const apostrophe = 0x27;
const blank = 0x20;
const isLineEnd = (unit: number): boolean => unit === 0x0a || unit === 0x0d;

function gpt2PieceEnd(text: string, start: number, end: number): number {
  const unit = text.charCodeAt(start);
  if (unit === apostrophe) {
    const length = contraction(text.slice(start + 1, Math.min(start + 3, end)));
    if (length > 0) return start + 1 + length;
  }
  const leading = unit === blank && start + 1 < end ? 1 : 0;
  const wanted = classOf(text.codePointAt(start + leading)!);
  if (wanted !== space) return runEnd(text, start + leading, end, wanted);
  return whiteSpaceEnd(text, start, end);
}

/** `\s+(?!\S)|\s+`: the last of several white-space characters goes with what follows them. */
function whiteSpaceEnd(text: string, start: number, end: number): number {
  const run = runEnd(text, start, end, space);
  return run === end || run === start + 1 ? run : run - 1;
}

function laterPieceEnd(text: string, start: number, end: number, digits: number): number {
  const codePoint = text.codePointAt(start)!;
  if (codePoint === apostrophe) {
    const rest = text.slice(start + 1, Math.min(start + 3, end));
    const length = contraction(rest.toLowerCase().replaceAll('\u017f', 's'));
    if (length > 0) return start + 1 + length;
  }
  const first = classOf(codePoint);
  if (first === letter) return runEnd(text, start, end, letter);
  if (first === number) return digitsEnd(text, start, end, digits);
  const second = start + (codePoint > 0xffff ? 2 : 1);
  const secondClass = second < end ? classOf(text.codePointAt(second)!) : 0;
  if (secondClass === letter && !isLineEnd(codePoint)) return runEnd(text, second, end, letter);
  if (first === other || (codePoint === blank && secondClass === other)) {
    let at = runEnd(text, first === other ? start : second, end, other);
    while (at < end && isLineEnd(text.charCodeAt(at))) at++;
    return at;
  }
  // \s*[\r\n]+ reaches to the last line end of the white space.
  for (let at = runEnd(text, start, end, space); at > start; at--) {
    if (isLineEnd(text.charCodeAt(at - 1))) return at;
  }
  return whiteSpaceEnd(text, start, end);
}

function digitsEnd(text: string, start: number, end: number, digits: number): number {
  let at = start;
  for (let count = 0; count < digits && at < end; count++) {
    const codePoint = text.codePointAt(at)!;
    if (classOf(codePoint) !== number) break;
    at += codePoint > 0xffff ? 2 : 1;
  }
  return at;
}

/** Length of the English contraction that a text begins with after its apostrophe, 0 where it is none. */
function contraction(rest: string): number {
  if ('stmd'.includes(rest[0] ?? ' ')) return 1;
  return rest === 're' || rest === 've' || rest === 'll' ? 2 : 0;
}
