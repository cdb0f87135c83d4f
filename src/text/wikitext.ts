// From the mark-up of MediaWiki to plain text: what a reader sees as running text stays, with headings and lists as lines.
// Templates, tables, images, categories, references and formulas go. Everything is linear in the length of the text.

/** Deeper mark-up is taken as text. */
const deepest = 64;

const englishHidden = ['file', 'image', 'media', 'category'];

/** Elements that go with all they hold. */
const droppedElements = [
  'ref',
  'math',
  'gallery',
  'timeline',
  'syntaxhighlight',
  'source',
  'score',
  'imagemap',
  'templatestyles',
];

const entities: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: ' ',
  thinsp: ' ',
  ensp: ' ',
  emsp: ' ',
  ndash: '–',
  mdash: '—',
  minus: '−',
  hellip: '…',
  middot: '·',
  times: '×',
  deg: '°',
  lsquo: '‘',
  rsquo: '’',
  ldquo: '“',
  rdquo: '”',
  shy: '',
};

/**
 * The plain text of an article; paragraphs are parted by an empty line.
 *
 * @param hiddenNamespaces what links to media, files and categories begin with, beside English names
 */
export function plainText(wikitext: string, hiddenNamespaces: readonly string[] = []): string {
  const hidden = new Set([...englishHidden, ...hiddenNamespaces.map((name) => name.toLowerCase())]);
  // No expression goes past where it could begin anew, so that each is linear.
  const text = resolveLinks(dropElements(wikitext), hidden)
    .replace(/\[(?:https?:|ftp:)?\/\/[^\s[\]]{1,2000}(?: ([^[\]\n]{0,2000}))?\]/g, '$1')
    .replace(/<\/?[a-z][^<>]{0,1000}>/gi, '')
    .replace(/'{2,5}/g, '')
    .replace(/__[A-Z]{2,30}__/g, '')
    .replace(/&(#\d{1,7}|#x[\da-f]{1,6}|[a-z]{2,8});/gi, (whole, name: string) => entityText(name) ?? whole);
  const lines = text.split('\n').map(plainLine);
  return lines
    .filter((line, index) => line !== '' || (lines[index - 1] ?? '') !== '')
    .join('\n')
    .trim();
}

/** == Headings ==, lists and indented lines without their signs, and no white space at the ends. */
function plainLine(line: string): string {
  const trimmed = line.trim();
  if (/^-{4,}$/.test(trimmed)) return '';
  const heading = /^(={1,6})(.*[^=])\1$/.exec(trimmed);
  return heading ? heading[2].trim() : trimmed.replace(/^[*#:;]{1,40} ?/, '').trim();
}

function entityText(name: string): string | undefined {
  if (name[0] !== '#') return Object.hasOwn(entities, name) ? entities[name] : undefined;
  const code = /^#x/i.test(name) ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
  const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
  return isCharacter ? String.fromCodePoint(code) : '';
}

/** Without comments and elements whose content is no running text. */
function dropElements(text: string): string {
  const opening = new RegExp(`<!--|<(${droppedElements.join('|')})(?=[\\s/>])`, 'gi');
  /** Ends that are known to be nowhere further on: looking for them again would take quadratic time. */
  const missing = new Set<string>();
  let kept = '';
  let at = 0;
  for (let match = opening.exec(text); match; match = opening.exec(text)) {
    const end = elementEnd(text, match.index, match[1]?.toLowerCase(), missing);
    if (end < 0) continue;
    kept += text.slice(at, match.index);
    at = opening.lastIndex = end;
  }
  return kept + text.slice(at);
}

function elementEnd(text: string, start: number, name: string | undefined, missing: Set<string>): number {
  const find = (wanted: string, from: number): number => {
    if (missing.has(wanted)) return -1;
    const found = text.indexOf(wanted, from);
    if (found < 0) missing.add(wanted);
    return found < 0 ? -1 : found + wanted.length;
  };
  if (name === undefined) return find('-->', start + 4);
  const opened = find('>', start);
  if (opened < 0 || text[opened - 2] === '/') return opened;
  return find(`</${name}>`, opened);
}

type Opener = '[[' | '{{' | '{|';
const closers: Readonly<Record<Opener, string>> = { '[[': ']]', '{{': '}}', '{|': '|}' };

/** Replaces links by what they show; templates and tables go, whatever is in them. */
function resolveLinks(text: string, hidden: ReadonlySet<string>): string {
  const open: { opener: Opener; outside: string }[] = [];
  let current = '';
  let at = 0;
  const marks = /\[\[|\]\]|\{\{|\}\}|\{\||\|\}/g;
  for (let mark = marks.exec(text); mark; mark = marks.exec(text)) {
    const sign = mark[0];
    current += text.slice(at, mark.index);
    at = mark.index + 2;
    const top = open.at(-1);
    if (sign in closers && open.length < deepest) {
      open.push({ opener: sign as Opener, outside: current });
      current = '';
    } else if (top && sign === closers[top.opener]) {
      open.pop();
      current = top.outside + (top.opener === '[[' ? shownByLink(current, hidden) : '');
    } else if (sign === '|}' && text[at] === '}') {
      // The end of a template's last, empty argument: {{name|}}.
      at--;
      marks.lastIndex = at;
    } else current += sign;
  }
  current += text.slice(at);
  while (open.length > 0) current = open.pop()!.outside + current;
  return current;
}

/** What stands in a link's place: its label, its target, or nothing for images, categories and other languages. */
function shownByLink(content: string, hidden: ReadonlySet<string>): string {
  const bar = content.indexOf('|');
  const target = bar < 0 ? content : content.slice(0, bar);
  const colon = target.indexOf(':');
  if (colon > 0 && hidden.has(target.slice(0, colon).trim().toLowerCase())) return '';
  if (/^[a-z]{2,3}(?:-[a-z]{2,12}){0,2}:/.test(target)) return ''; // [[de:Name]], [[zh-min-nan:Name]]
  return bar < 0 ? target.replace(/^\s*:/, '') : content.slice(content.lastIndexOf('|') + 1);
}
