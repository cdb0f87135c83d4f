import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where downloads and prepared token files are kept: $HEDDLE_CACHE, or ~/.cache/heddle. */
export function defaultCacheFolder(): string {
  const chosen = process.env.HEDDLE_CACHE;
  return chosen ? resolve(chosen) : join(homedir(), '.cache', 'heddle');
}
