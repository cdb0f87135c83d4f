import { availableParallelism, freemem, release, totalmem } from 'node:os';
import { defaultCacheFolder } from '../data/cacheFolder.js';
import { type AddonInfo, runtimeInfo } from '../runtime/session.js';

export interface Diagnosis {
  readonly node: string;
  readonly platform: string;
  readonly cores: number;
  /** Bytes. */
  readonly memory: { readonly total: number; readonly free: number };
  readonly cacheFolder: string;
  /** What the addon was built with and uses here, or why it cannot be loaded. */
  readonly addon: Omit<AddonInfo, 'opsHash'> | { readonly error: string };
}

/** What this machine has, and what of it Heddle uses. */
export function diagnose(): Diagnosis {
  let addon: Diagnosis['addon'];
  try {
    const { opsHash: _, ...info } = runtimeInfo(); // JSON has no 64-bit integers
    addon = info;
  } catch (error) {
    addon = { error: error instanceof Error ? error.message : String(error) };
  }
  return {
    node: process.version,
    platform: `${process.platform} ${process.arch} ${release()}`,
    cores: availableParallelism(),
    memory: { total: totalmem(), free: freemem() },
    cacheFolder: defaultCacheFolder(),
    addon,
  };
}
