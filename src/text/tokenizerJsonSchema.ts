// What all kinds of tokenizer.json files have in common, checked. Nothing of a file is trusted: sizes are bounded, and no expression
// out of it is ever run.
import * as v from 'valibot';
import { DataError } from '../errors.js';

/** Ids up to here fit every table there is; published vocabularies have up to 262,144. */
export const mostTokens = 2 ** 21;
const longestToken = 2 ** 16;

export const id = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(mostTokens - 1));
export const content = v.pipe(v.string(), v.minLength(1), v.maxLength(longestToken));
export const flag = v.optional(v.boolean(), false);

export const addedTokens = v.optional(
  v.pipe(
    v.array(v.object({ id, content, special: flag, lstrip: flag, rstrip: flag, single_word: flag })),
    v.maxLength(mostTokens),
  ),
  [],
);

/** Ids by names. Valibot's record would pass over names such as "constructor", which are tokens like any other. */
export const vocab = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'must be an object of names and ids',
  ),
  v.transform((names) => new Map(Object.entries(names))),
  v.check((ids) => ids.size <= mostTokens, `must have at most ${mostTokens} tokens`),
  v.map(v.pipe(v.string(), v.maxLength(longestToken)), id),
);

/** Merges as pairs of names; older files have a string of both. */
export const mergeList = v.pipe(
  v.array(
    v.union([
      v.pipe(
        v.string(),
        v.regex(/^[^ ]+ [^ ]+$/, 'a merge must be two tokens with a space between them'),
        v.transform((both) => both.split(' ') as [string, string]),
      ),
      v.strictTuple([content, content]),
    ]),
  ),
  v.maxLength(mostTokens),
);

export const refuse = (why: string): never => {
  throw new DataError(`tokenizer.json: ${why}`);
};

/** The checked value, or a DataError that says where it is wrong. */
export function checked<Output>(schema: v.GenericSchema<unknown, Output>, value: unknown): Output {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  return refuse(`${v.getDotPath(issue)?.slice(0, 80) ?? 'JSON'}: ${issue.message.slice(0, 200)}`);
}

/** Token names by id. */
export function tokenNames(ids: ReadonlyMap<string, number>): (string | undefined)[] {
  const names: (string | undefined)[] = [];
  for (const [name, number] of ids) {
    // An id far beyond the number of tokens would make a table of holes.
    while (names.length <= number) names.push(undefined);
    if (names[number] !== undefined) refuse(`two tokens have the id ${number}`);
    names[number] = name;
  }
  return names;
}
