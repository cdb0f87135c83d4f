import * as v from 'valibot';
import { DataError } from '../errors.js';
import { numberedLines } from './numberedLines.js';

/**
 * The objects of a JSONL file, one a line, checked; empty lines are passed over.
 *
 * @param example an object as it must be, for the DataError that names the line of one that is not
 * @param onBytes is told how many bytes were read
 */
export async function* jsonLines<Line>(
  path: string,
  schema: v.GenericSchema<unknown, Line>,
  example: string,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<Line> {
  for await (const { text, number } of numberedLines(path, onBytes)) {
    if (text.trim() === '') continue;
    const refuse = (why: string): DataError =>
      new DataError(`${path}:${number} must be an object such as ${example}, but ${why}`, {
        path,
        line: number,
      });
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw refuse(`it is no JSON: ${(error as Error).message.slice(0, 100)}`);
    }
    const result = v.safeParse(schema, value);
    if (!result.success) {
      const [issue] = result.issues;
      throw refuse(`${v.getDotPath(issue) ?? 'the line'} is wrong: ${issue.message.slice(0, 100)}`);
    }
    yield result.output;
  }
}
