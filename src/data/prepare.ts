import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, DataError } from '../errors.js';
import { ByteTokenizer } from '../text/bytes.js';
import { allocateIds } from '../text/ids.js';
import { tokenizerLearner } from '../text/learner.js';
import { cleanPieces } from '../text/normalise.js';
import type { SpecialTokenName } from '../text/specialTokens.js';
import type { StreamEncoder } from '../text/tokenizer.js';
import {
  type Tokenizer,
  type TokenizerKind,
  tokenizerFromJSON,
  tokenizerSha256,
} from '../text/vocabulary.js';
import { defaultCacheFolder } from './cacheFolder.js';
import { type Cleaning, checkCleaning } from './cleaning.js';
import type { Corpus, CorpusDocument } from './corpora.js';
import type { DataProgress, WorkOptions } from './progress.js';
import { TokenFile } from './tokenFile.js';
import { TokenFileWriter } from './tokenFileWriter.js';
import { tokenizerNamed, writeTokenizer } from './tokenizerFile.js';

export interface PrepareOptions extends WorkOptions {
  /** A kind, to be built from the corpus where it needs to be, a tokenizer, or the path of one; default 'characters'. */
  readonly tokenizer?: string | Tokenizer;
  /** Tokens of a tokenizer that is learnt (bpe, words), special ones included. Default 8,000 for bpe, no limit for words. */
  readonly vocabSize?: number;
  /** A word that occurs less often is unknown to a words tokenizer. Default 1. */
  readonly minCount?: number;
  /** Tokens that stand for no text, for a tokenizer that is built. Default: none. */
  readonly specialTokens?: readonly SpecialTokenName[];
  /** Of every document. Default 'none'. */
  readonly clean?: Cleaning;
  /** Documents are followed by the token eos, which a tokenizer that is built then has, and by no separator. Default false. */
  readonly endDocuments?: boolean;
  /** Where token files are kept; default $HEDDLE_CACHE or ~/.cache/heddle. */
  readonly cacheFolder?: string;
}

export interface PreparedData {
  /** The whole corpus; close it after use. */
  readonly source: TokenFile;
  readonly tokenizer: Tokenizer;
  /** True where a token file of the same input was there already. */
  readonly reused: boolean;
}

/** To be raised when the same input would give other tokens than before. */
const rulesVersion = 2;

/**
 * Turns a corpus into a token file in the cache folder, or finds the one it made of the same files (path, size, time of last
 * change) and options before. Documents follow each other, parted by a line end (a space in text8) where none is there, or by eos.
 *
 * @throws ConfigError where `endDocuments` is asked for and a given tokenizer has no eos
 * @throws DataError where the corpus holds no text, is no UTF-8 or has a character that a given tokenizer does not know
 */
export async function prepareTokens(corpus: Corpus, given: PrepareOptions = {}): Promise<PreparedData> {
  const options = given.endDocuments ? { ...given, specialTokens: withEos(given.specialTokens) } : given;
  const { tokenizer: asked = 'characters', clean = 'none', cacheFolder = defaultCacheFolder() } = options;
  checkCleaning(clean);
  const wanted = typeof asked === 'string' ? await tokenizerNamed(asked) : asked;
  if (given.endDocuments && typeof wanted !== 'string' && wanted.specialTokens.eos === undefined) {
    throw new ConfigError(
      'documents are to end with the special token eos, but the tokenizer has none; take one that has, or have one built from the data',
    );
  }
  const folder = join(cacheFolder, 'tokens');
  const key = cacheKey(corpus, wanted, clean, options);
  const paths = { tokens: join(folder, `${key}.tokens`), tokenizer: join(folder, `${key}.tokenizer.json`) };
  const ready = await openReady(paths);
  if (ready) return { ...ready, reused: true };
  await mkdir(folder, { recursive: true });
  const tokenizer =
    typeof wanted === 'string' ? await learnTokenizer(wanted, corpus, { ...options, clean }) : wanted;
  await writeTokenizer(paths.tokenizer, tokenizer);
  await writeTokens(paths.tokens, corpus, tokenizer, clean, options);
  return { source: TokenFile.open(paths.tokens), tokenizer, reused: false };
}

const withEos = (names: readonly SpecialTokenName[] = []): readonly SpecialTokenName[] =>
  names.includes('eos') ? names : [...names, 'eos'];

function cacheKey(
  corpus: Corpus,
  tokenizer: TokenizerKind | Tokenizer,
  clean: Cleaning,
  { vocabSize, minCount, specialTokens = [], endDocuments = false }: PrepareOptions,
): string {
  const identity =
    typeof tokenizer === 'string'
      ? [tokenizer, vocabSize, minCount, ...specialTokens]
      : tokenizerSha256(tokenizer).toString('hex');
  const text = JSON.stringify([rulesVersion, corpus.inputs, identity, clean, endDocuments]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/** Whatever is missing or does not fit is made anew. */
async function openReady(paths: { tokens: string; tokenizer: string }) {
  try {
    const tokenizer = tokenizerFromJSON(JSON.parse(await readFile(paths.tokenizer, 'utf8')));
    const source = TokenFile.open(paths.tokens);
    if (source.tokenizerSha256.equals(tokenizerSha256(tokenizer))) return { source, tokenizer };
    source.close();
  } catch {}
  return undefined;
}

/** The tokenizer of a kind that all documents of a corpus give together. */
export async function learnTokenizer(
  kind: TokenizerKind,
  corpus: Corpus,
  options: Omit<PrepareOptions, 'tokenizer' | 'cacheFolder'> = {},
): Promise<Tokenizer> {
  const { specialTokens = [], clean = 'none' } = options;
  if (kind === 'bytes') return new ByteTokenizer(specialTokens);
  const learner = tokenizerLearner(kind, options);
  let isFirst = true;
  for await (const { text, begins } of readCorpus(corpus, clean, 'scan', options)) {
    if (begins && !isFirst) learner.endText?.();
    learner.add(text);
    isFirst = false;
  }
  return learner.tokenizer();
}

async function writeTokens(
  path: string,
  corpus: Corpus,
  tokenizer: Tokenizer,
  clean: Cleaning,
  options: Pick<PrepareOptions, 'endDocuments' | keyof WorkOptions>,
): Promise<void> {
  const writer = await TokenFileWriter.create(path, tokenizer.vocabSize, tokenizerSha256(tokenizer));
  const end = allocateIds(tokenizer.vocabSize, options.endDocuments ? 1 : 0);
  if (options.endDocuments) end[0] = tokenizer.specialTokens.eos!;
  try {
    let encoder: StreamEncoder | undefined;
    const endDocument = async () => {
      if (!encoder) return;
      await writer.write(encoder.end());
      await writer.write(end);
    };
    for await (const { text, begins, offset } of readCorpus(corpus, clean, 'encode', options)) {
      if (begins) {
        await endDocument();
        writer.beginDocument();
        encoder = undefined;
      }
      encoder ??= tokenizer.encoder(offset);
      await writer.write(encoder.write(text));
    }
    await endDocument();
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

interface CorpusPiece {
  readonly text: string;
  /** Whether a document begins here. */
  readonly begins: boolean;
  /** Where it begins in the text of all documents, in UTF-16 units. */
  readonly offset: number;
}

async function* readCorpus(
  corpus: Corpus,
  clean: Cleaning,
  stage: DataProgress['stage'],
  { onProgress, signal, endDocuments }: Pick<PrepareOptions, 'endDocuments' | keyof WorkOptions>,
): AsyncGenerator<CorpusPiece> {
  const total = corpus.documents.reduce((sum, document) => sum + document.bytes, 0);
  const separator = clean === 'text8' ? ' ' : '\n';
  let done = 0;
  let offset = 0;
  let lastCharacter = separator;
  const onBytes = (bytes: number): void => {
    done += bytes;
    onProgress?.({ stage, done, total });
  };
  for (const document of corpus.documents) {
    for await (const raw of textsOf(document, onBytes)) {
      let begins = true;
      for await (const text of cleaned(raw, document, clean)) {
        signal?.throwIfAborted();
        if (begins && !endDocuments && lastCharacter !== separator)
          yield { text: separator, begins: false, offset: offset++ };
        yield { text, begins, offset };
        begins = false;
        offset += text.length;
        lastCharacter = text.slice(-1);
      }
    }
  }
  if (offset === 0) {
    const why = clean === 'text8' ? ' that is left when it is cleaned' : '';
    throw new DataError(`the corpus ${corpus.name} holds no text${why}`, { corpus: corpus.name });
  }
}

/** Each text of a document, in pieces. */
async function* textsOf(
  document: CorpusDocument,
  onBytes: (bytes: number) => void,
): AsyncGenerator<AsyncIterable<string>> {
  if (!document.texts) yield document.pieces(onBytes);
  else for await (const text of document.texts(onBytes)) yield oneOf(text);
}

async function* oneOf(text: string): AsyncGenerator<string> {
  yield text;
}

/** The rules of text8 deal with mark-up themselves. Empty pieces are left out. */
async function* cleaned(
  raw: AsyncIterable<string>,
  document: CorpusDocument,
  clean: Cleaning,
): AsyncGenerator<string> {
  for await (const piece of clean === 'text8' ? cleanPieces(raw) : raw) {
    const text = clean !== 'text8' && document.plainText ? document.plainText(piece) : piece;
    if (text !== '') yield text;
  }
}
