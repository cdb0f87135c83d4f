import { text as readAll } from 'node:stream/consumers';
import * as v from 'valibot';
import { openCorpora } from '../data/corpora.js';
import { learnTokenizer } from '../data/prepare.js';
import { tokenizerNamed, writeTokenizer } from '../data/tokenizerFile.js';
import { ConfigError, DataError, nearestName } from '../errors.js';
import { choice, onOff, text } from '../models/settingFields.js';
import { type SpecialTokenName, specialTokenNames } from '../text/specialTokens.js';
import type { Tokenizer } from '../text/vocabulary.js';
import { dataEntries } from '../train/settings.js';
import { type CommandContext, defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { formatNumber } from './table.js';

const { vocabSize, minCount, clean } = dataEntries;
const schema = v.strictObject({
  action: choice(
    ['train', 'import', 'encode', 'decode'],
    'Learn a tokenizer from texts, write one of other files as ours, or run one',
  ),
  tokenizer: v.optional(dataEntries.tokenizer.wrapped, 'bpe'),
  data: v.optional(text('Texts to learn from together: corpora, files or folders, separated by commas')),
  vocabSize,
  minCount,
  specialTokens: v.optional(
    text(
      `Special tokens of a tokenizer that is learnt, of ${specialTokenNames.join(', ')}, separated by commas`,
    ),
  ),
  clean,
  out: v.optional(text('File for the tokenizer'), 'tokenizer.json'),
  text: v.optional(
    text('Text to encode, or ids to decode', { defaultFrom: 'standard input, all of it as one text' }),
  ),
  json: v.optional(onOff('Write one JSON object to standard output'), false),
});
type Settings = v.InferOutput<typeof schema>;

export const tokenizer = defineCommand({
  name: 'tokenizer',
  summary: 'Learns a tokenizer from texts, imports one, or encodes and decodes with one',
  example:
    'heddle tokenizer train bpe --data train.en,train.de --vocab-size 8000 --special-tokens pad,bos,eos --out joint.json',
  schema,
  positionals: ['action', 'tokenizer'],
  async run(settings, context) {
    const named = await tokenizerNamed(settings.tokenizer);
    if (settings.action === 'train') {
      if (typeof named !== 'string') {
        throw new ConfigError(
          `${settings.tokenizer} is a tokenizer already; train takes characters, bytes, words or bpe`,
        );
      }
      const corpus = await openCorpora(namesIn(settings.data ?? ''), context);
      const learnt = await learnTokenizer(named, corpus, {
        ...settings,
        specialTokens: specialTokensIn(settings.specialTokens),
        signal: context.signal,
        onProgress: settings.json ? undefined : dataProgress(context.stderr),
      });
      return write(learnt, settings, context);
    }
    if (typeof named === 'string') {
      throw new ConfigError(
        `${settings.action} takes a tokenizer that exists: a tokenizer.json, or a folder with one or with encoder.json and vocab.bpe`,
      );
    }
    if (settings.action === 'import') return write(named, settings, context);
    const given = settings.text ?? (await readAll(process.stdin));
    const { stdout } = context;
    if (settings.action === 'encode') {
      const ids = Array.from(named.encode(given));
      stdout.write(settings.json ? `${JSON.stringify({ ids })}\n` : `${ids.join(' ')}\n`);
    } else {
      const decoded = named.decode(idsIn(given));
      stdout.write(settings.json ? `${JSON.stringify({ text: decoded })}\n` : `${decoded}\n`);
    }
  },
});

async function write(made: Tokenizer, { out, json }: Settings, { stdout }: CommandContext): Promise<void> {
  await writeTokenizer(out, made);
  const { kind, vocabSize: size, specialTokens } = made;
  if (json) stdout.write(`${JSON.stringify({ kind, vocabSize: size, specialTokens, file: out })}\n`);
  else stdout.write(`${kind} tokenizer with a vocabulary of ${formatNumber(size)}, written to ${out}\n`);
}

function namesIn(list: string): string[] {
  const names = list.split(',').map((name) => name.trim());
  if (names.every((name) => name !== '')) return names;
  throw new ConfigError(
    '--data names the texts to learn from, separated by commas, such as train.en,train.de',
  );
}

function specialTokensIn(list: string | undefined): SpecialTokenName[] {
  const names = (list ?? '').split(',').filter((name) => name !== '');
  const known: readonly string[] = specialTokenNames;
  for (const [index, name] of names.entries()) {
    const near = nearestName(name, known);
    if (!known.includes(name)) {
      throw new ConfigError(
        `unknown special token ${name}; ${near ? `did you mean ${near}?` : `expected some of ${known.join(', ')}`}`,
      );
    }
    if (names.indexOf(name) < index) throw new ConfigError(`the special token ${name} is named twice`);
  }
  return names as SpecialTokenName[];
}

/** Ids in decimal, with spaces or commas between them. */
function idsIn(list: string): number[] {
  return list
    .split(/[\s,]+/)
    .filter((word) => word !== '')
    .map((word) => {
      if (/^\d{1,10}$/.test(word)) return Number(word);
      throw new DataError(`${JSON.stringify(word.slice(0, 40))} is no token id; ids are whole numbers`);
    });
}
