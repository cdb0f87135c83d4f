import { createReadStream } from 'node:fs';
import { DataError } from '../errors.js';
import { decodeUtf8 } from '../text/utf8.js';

export interface NumberedLine {
  readonly text: string;
  /** From 1, as editors count. */
  readonly number: number;
}

/** A longer line is no sentence: it would only fill the memory. */
const longestLine = 2 ** 24;

/**
 * The lines of a UTF-8 text file, without their ends (line feed, with or without a carriage return before it). What follows
 * the last line end is a line only if there is something; `onBytes` is told how many bytes were read. DataError where the file
 * cannot be read or is no UTF-8.
 */
export async function* numberedLines(
  path: string,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<NumberedLine> {
  let number = 1;
  let pending = '';
  for await (const piece of decodeUtf8(bytesOf(path, onBytes), path)) {
    const lines = (pending + piece).split('\n');
    pending = lines.pop()!;
    for (const line of lines)
      yield { text: line.endsWith('\r') ? line.slice(0, -1) : line, number: number++ };
    if (pending.length > longestLine) {
      throw new DataError(`${path}:${number} is longer than ${longestLine} characters; break it into lines`, {
        path,
        line: number,
      });
    }
  }
  if (pending !== '') yield { text: pending, number };
}

/** The bytes of a file in pieces. DataError where it cannot be read. */
export async function* bytesOf(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 2 ** 18 })) {
      onBytes?.(piece.length);
      yield piece;
    }
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'there is no such file' : message;
    throw new DataError(`cannot read ${path}: ${reason}`, { path }, { cause });
  }
}
