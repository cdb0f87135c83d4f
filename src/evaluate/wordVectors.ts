import { readFile, stat } from 'node:fs/promises';
import { openCheckpoint, readCheckpointJson } from '../checkpoint/checkpoint.js';
import { openSafetensors } from '../checkpoint/safetensors.js';
import { CheckpointError, ConfigError, DataError, nearestName } from '../errors.js';
import { tokenizerFromJSON } from '../text/vocabulary.js';
import { readVectors, writeVectors } from './vectorFiles.js';

/** Names under which model families keep the vectors of their tokens, in the order in which they are looked for. */
const embeddingName =
  /^(centres|.*(wte|embed_tokens|word_embeddings|shared)\.weight|(.*\.)?embedding\.weight)$/;

export interface Neighbour {
  readonly word: string;
  /** Cosine of the angle between the vectors. */
  readonly similarity: number;
}

/** Vectors with their words. Vectors are kept at length 1 for comparing, and as they were for export. */
export class NamedVectors {
  readonly size: number;
  private readonly unit: Float32Array;
  private readonly rows: ReadonlyMap<string, number>;

  /** `vectors` holds a row for each word. */
  constructor(
    readonly words: readonly string[],
    readonly vectors: Float32Array,
  ) {
    if (words.length === 0 || vectors.length % words.length !== 0) {
      throw new ConfigError(`${vectors.length} numbers are no vectors for ${words.length} words`);
    }
    this.size = vectors.length / words.length;
    this.rows = new Map(words.map((word, row) => [word, row]));
    this.unit = Float32Array.from(vectors);
    for (let row = 0; row < words.length; row++) normalise(this.row(row));
  }

  has(word: string): boolean {
    return this.rows.has(word);
  }

  /** Cosine similarity of two words. Throws DataError for a word that is not there. */
  similarity(a: string, b: string): number {
    return dot(this.row(this.rowOf(a)), this.row(this.rowOf(b)));
  }

  /** The words nearest to a word. */
  neighbours(word: string, count = 10): Neighbour[] {
    const row = this.rowOf(word);
    return this.nearest(this.row(row), count, new Set([row]));
  }

  /** What is to `c` as `b` is to `a`: the words nearest to b - a + c, those three left out (3CosAdd, Mikolov et al. 2013). */
  analogy(a: string, b: string, c: string, count = 1): Neighbour[] {
    const rows = [a, b, c].map((word) => this.rowOf(word));
    const [x, y, z] = rows.map((row) => this.row(row));
    const target = x.map((value, i) => y[i] - value + z[i]);
    return this.nearest(normalise(target), count, new Set(rows));
  }

  private nearest(target: Float32Array, count: number, without: ReadonlySet<number>): Neighbour[] {
    const best: { row: number; similarity: number }[] = [];
    for (let row = 0; row < this.words.length; row++) {
      const similarity = dot(this.row(row), target);
      if (without.has(row) || !(best.length < count || similarity > best[best.length - 1].similarity))
        continue;
      const at = best.findIndex((other) => other.similarity < similarity);
      best.splice(at < 0 ? best.length : at, 0, { row, similarity });
      if (best.length > count) best.pop();
    }
    return best.map(({ row, similarity }) => ({ word: this.words[row], similarity }));
  }

  private row(row: number): Float32Array {
    return this.unit.subarray(row * this.size, (row + 1) * this.size);
  }

  private rowOf(word: string): number {
    const row = this.rows.get(word);
    if (row !== undefined) return row;
    const near = word.length < 30 ? nearestName(word, this.words.slice(0, 20_000)) : undefined;
    throw new DataError(`'${word}' is not in the vocabulary${near ? `; did you mean '${near}'?` : ''}`, {
      word,
    });
  }

  /** Writes all vectors to a file that `openVectors` reads: word2vec's text format, or safetensors by the name's end. */
  export(path: string): Promise<void> {
    return writeVectors(path, this);
  }
}

function normalise(vector: Float32Array): Float32Array {
  const length = Math.sqrt(dot(vector, vector));
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i] /= length;
  return vector;
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/**
 * The vectors of a model's tokens: those of a run of skip-gram, or the learned embeddings of any model; or those in a file that was
 * exported. Throws CheckpointError and DataError.
 */
export async function openVectors(path: string): Promise<NamedVectors> {
  if (
    await stat(path).then(
      (found) => found.isFile(),
      () => false,
    )
  ) {
    const { words, vectors } = await readVectors(path);
    return new NamedVectors(words, vectors);
  }
  const checkpoint = await openCheckpoint(path, { prefer: 'best' });
  const tokenizer = tokenizerFromJSON(await readCheckpointJson(checkpoint, 'tokenizer.json'));
  const file = await openSafetensors(checkpoint.folder);
  try {
    const name = [...file.tensors.keys()].find((candidate) => embeddingName.test(candidate));
    const shape = name === undefined ? undefined : file.tensors.get(name)!.shape;
    if (name === undefined || shape?.length !== 2 || shape[0] < tokenizer.vocabSize) {
      throw new CheckpointError(
        `${checkpoint.folder} has no vectors for the ${tokenizer.vocabSize} tokens of its tokenizer`,
      );
    }
    const special = new Set(Object.values(tokenizer.specialTokens));
    const all = await file.readFloat32(name);
    // Rows behind the tokenizer's are of special tokens that training appended.
    const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter((id) => !special.has(id));
    const vectors = new Float32Array(ids.length * shape[1]);
    ids.forEach((id, row) => {
      vectors.set(all.subarray(id * shape[1], (id + 1) * shape[1]), row * shape[1]);
    });
    return new NamedVectors(
      ids.map((id) => tokenizer.decode([id])),
      vectors,
    );
  } finally {
    await file.close();
  }
}

/** Ranks from 1, equals sharing the mean of theirs. */
function ranks(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((a, b) => values[a] - values[b]);
  const result = new Array<number>(values.length);
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && values[order[end]] === values[order[first]]) end++;
    for (let i = first; i < end; i++) result[order[i]] = (first + 1 + end) / 2;
    first = end;
  }
  return result;
}

/** Spearman's rank correlation, with ties; NaN where either side is constant. DataError for fewer than two pairs. */
export function rankCorrelation(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length || a.length < 2) {
    throw new DataError(
      `a rank correlation takes two lists of equally many numbers, at least 2, not ${a.length} and ${b.length}`,
    );
  }
  const mean = (a.length + 1) / 2;
  const [x, y] = [ranks(a), ranks(b)].map((values) => values.map((value) => value - mean));
  const product = (p: number[], q: number[]) => p.reduce((sum, value, i) => sum + value * q[i], 0);
  return product(x, y) / Math.sqrt(product(x, x) * product(y, y));
}

export interface SimilarityScore {
  readonly spearman: number;
  /** Pairs whose words are both in the vocabulary, of all. */
  readonly pairs: number;
  readonly total: number;
}

/** Rank correlation with human judgement: lines of two words and a number, parted by white space. Words are lower-cased. */
export async function scoreSimilarity(vectors: NamedVectors, path: string): Promise<SimilarityScore> {
  const lines = await readLines(path);
  const [ours, theirs]: [number[], number[]] = [[], []];
  lines.forEach(({ number, fields: [a, b, score, ...rest] }) => {
    const value = Number(score);
    if (score === undefined || rest.length > 0 || !Number.isFinite(value)) {
      throw new DataError(`${path}: line ${number} is not two words and a number`, { path, line: number });
    }
    if (!vectors.has(a.toLowerCase()) || !vectors.has(b.toLowerCase())) return;
    ours.push(vectors.similarity(a.toLowerCase(), b.toLowerCase()));
    theirs.push(value);
  });
  if (ours.length < 2) throw new DataError(`${path}: fewer than two pairs are in the vocabulary`, { path });
  return { spearman: rankCorrelation(ours, theirs), pairs: ours.length, total: lines.length };
}

export interface AnalogyScore {
  readonly section: string;
  readonly correct: number;
  /** Questions whose words are all in the vocabulary. */
  readonly questions: number;
  readonly accuracy: number;
}

/** Accuracy on analogies in the format of questions-words.txt (`: section`, then `a b c d`); the last entry is all sections together. */
export async function scoreAnalogies(vectors: NamedVectors, path: string): Promise<AnalogyScore[]> {
  const sections: { section: string; correct: number; questions: number }[] = [];
  for (const { number, fields } of await readLines(path)) {
    if (fields[0] === ':') {
      sections.push({ section: fields.slice(1).join(' '), correct: 0, questions: 0 });
      continue;
    }
    if (fields.length !== 4)
      throw new DataError(`${path}: line ${number} is not four words`, { path, line: number });
    const [a, b, c, expected] = fields.map((word) => word.toLowerCase());
    if (![a, b, c, expected].every((word) => vectors.has(word))) continue;
    if (sections.length === 0) sections.push({ section: 'all questions', correct: 0, questions: 0 });
    const section = sections[sections.length - 1];
    section.questions++;
    section.correct += Number(vectors.analogy(a, b, c)[0]?.word === expected);
  }
  const all = (field: 'correct' | 'questions') => sections.reduce((sum, section) => sum + section[field], 0);
  const total = { section: 'total', correct: all('correct'), questions: all('questions') };
  return [...sections, total].map((score) => ({ ...score, accuracy: score.correct / score.questions }));
}

async function readLines(path: string): Promise<{ number: number; fields: string[] }[]> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw new DataError(`cannot read ${path}: ${cause.message}`, { path }, { cause });
  });
  return text
    .split('\n')
    .map((line, index) => ({ number: index + 1, fields: line.trim().split(/\s+/) }))
    .filter(({ fields }) => fields[0] !== '');
}
