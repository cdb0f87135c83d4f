// Vectors in files: word2vec's text format (both counts, then a word and its numbers a line), or safetensors.
import { type FileHandle, open, stat } from 'node:fs/promises';
import * as v from 'valibot';
import { openSafetensors, writeSafetensors } from '../checkpoint/safetensors.js';
import { numberedLines } from '../data/numberedLines.js';
import { DataError } from '../errors.js';

export interface Vectors {
  readonly words: readonly string[];
  /** A row for each word. */
  readonly vectors: Float32Array;
}

const tensorName = 'vectors';

/** As short as it can be and still be read back to the bit; String(-0) is '0'. */
const numberText = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

/**
 * Writes safetensors where the name ends so, else text. Text cannot hold white space in a word: U+2581 stands for each, and for a word that
 * is empty. Throws DataError and CheckpointError where the file cannot be written.
 */
export async function writeVectors(path: string, { words, vectors }: Vectors): Promise<void> {
  const size = vectors.length / words.length;
  if (path.endsWith('.safetensors')) {
    const source = new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength);
    const tensor = { name: tensorName, dtype: 'F32', shape: [words.length, size], source } as const;
    await writeSafetensors(path, [tensor], { words: JSON.stringify(words) });
    return;
  }
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'w');
    let piece = `${words.length} ${size}\n`;
    for (const [row, word] of words.entries()) {
      const numbers = Array.from(vectors.subarray(row * size, (row + 1) * size), numberText);
      piece += `${word.replace(/\s/g, '\u2581') || '\u2581'} ${numbers.join(' ')}\n`;
      if (piece.length < 1 << 20) continue;
      await file.appendFile(piece);
      piece = '';
    }
    await file.appendFile(piece);
  } catch (cause) {
    throw new DataError(`cannot write ${path}: ${(cause as Error).message}`, { path }, { cause });
  } finally {
    await file?.close();
  }
}

/** Reads what `writeVectors` or word2vec wrote, by the name's end. Throws DataError, with the line of a text. */
export const readVectors = (path: string): Promise<Vectors> =>
  path.endsWith('.safetensors') ? readTensor(path) : readText(path);

const wordsJson = v.pipe(v.string(), v.parseJson(), v.array(v.string()));

async function readTensor(path: string): Promise<Vectors> {
  const file = await openSafetensors(path);
  try {
    const words = v.safeParse(wordsJson, file.metadata.words);
    const shape = file.tensors.get(tensorName)?.shape;
    if (!words.success || shape?.length !== 2 || shape[0] !== words.output.length || shape[0] === 0) {
      throw new DataError(
        `${path} holds no vectors with their words: a tensor 'vectors' [words, size], and their list in the metadata 'words'`,
        { path },
      );
    }
    return { words: words.output, vectors: await file.readFloat32(tensorName) };
  } finally {
    await file.close();
  }
}

async function readText(path: string): Promise<Vectors> {
  let shape: [count: number, size: number] | undefined;
  let vectors = new Float32Array();
  const words: string[] = [];
  for await (const { text, number } of numberedLines(path)) {
    const refuse = (why: string): never => {
      throw new DataError(`${path}:${number} ${why}`, { path, line: number });
    };
    const [word, ...numbers] = text.trimEnd().split(' ');
    if (!shape) {
      const counts = /^([1-9]\d{0,9}) ([1-9]\d{0,6})$/.exec(text.trimEnd());
      if (!counts) return refuse("must be the number of words and the size of a vector, such as '5000 100'");
      shape = [Number(counts[1]), Number(counts[2])];
      // A number takes two bytes at least: a count that the file cannot hold is no reason to ask for memory.
      const { size: bytes } = await stat(path);
      if (2 * shape[0] * shape[1] > bytes)
        return refuse(`promises more vectors than ${bytes} bytes can hold`);
      vectors = new Float32Array(shape[0] * shape[1]);
      continue;
    }
    const [count, size] = shape;
    if (word === '' && numbers.length === 0) continue;
    if (words.length === count) return refuse(`is one vector more than the ${count} of its first line`);
    const values = numbers.map((each) => (each === '' ? Number.NaN : Number(each)));
    if (values.length !== size || !values.every(Number.isFinite)) {
      return refuse(`must be a word and ${size} numbers`);
    }
    vectors.set(values, words.length * size);
    words.push(word);
  }
  if (!shape || words.length < shape[0]) {
    throw new DataError(
      `${path} ends after ${words.length} vectors; its first line promises ${shape?.[0] ?? 'some'}`,
      {
        path,
      },
    );
  }
  return { words, vectors };
}
