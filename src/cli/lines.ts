import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { DataError } from '../errors.js';

/** The lines of a text file; `what` says what a line is. Throws DataError where it has none or cannot be read. */
export async function readLines(path: string, what: string): Promise<string[]> {
  const lines: string[] = [];
  try {
    const input = createReadStream(path);
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }))
      lines.push(line);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new DataError(`${path} cannot be read (${code ?? error}); name a text file with ${what} a line`, {
      path,
    });
  }
  if (lines.length === 0) throw new DataError(`${path} is empty; it should have ${what} a line`, { path });
  return lines;
}
