import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  ConfigError,
  DataError,
  DeviceError,
  type HeddleError,
  OutOfMemoryError,
  ShapeError,
} from '../errors.js';

/** Where a session runs; `cuda` is the first GPU that works, `cuda:N` that one. */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

export interface SessionStats {
  readonly device: 'cpu' | 'cuda';
  /** Why this device. */
  readonly reason: string;
  /** The instruction set of the kernels in use, or the GPU's architecture. */
  readonly isa: string;
  /** Threads that execute kernels, the session's own included. */
  readonly workers: number;
  readonly runs: number;
  /** Time spent in `run` between taking the inputs and giving the outputs, over all runs. */
  readonly kernelSeconds: number;
  /** Bytes of each arena by name. */
  readonly arenas: Readonly<Record<string, number>>;
  /**
   * How a GPU computes each kind of matrix product, where there is cuBLASLt to choose from: a line each with tabs between the
   * kind, the choice and its time. Empty elsewhere. `load` takes it to compute the same way again.
   */
  readonly matmulChoices: string;
}

/** The native class. Every method that returns a promise rejects rather than throws. */
export interface NativeSession {
  load(programs: readonly Uint8Array[], matmulChoices?: string): Promise<number[]>;
  run<View extends ArrayBufferView>(
    program: number,
    inputs: ArrayBufferView,
    scalars: Float64Array,
    outputs: View,
  ): Promise<View>;
  profile(
    program: number,
    inputs: ArrayBufferView,
    scalars: Float64Array,
    outputs: ArrayBufferView,
  ): Promise<Float64Array>;
  read<View extends ArrayBufferView>(arena: string, byteOffset: number, view: View): Promise<View>;
  write(arena: string, byteOffset: number, view: ArrayBufferView): Promise<void>;
  close(): Promise<void>;
  stats(): SessionStats;
}

export interface AddonInfo {
  /** Instruction sets that kernels were built for and this processor has, and the one that sessions use here. */
  readonly isas: readonly string[];
  readonly isa: string;
  /** Cores and bytes of memory this process may use. */
  readonly cores: number;
  readonly freeMemory: number;
  readonly cuda: {
    readonly built: boolean;
    readonly available: boolean;
    /** Why it is not available; empty where it is. */
    readonly reason: string;
    /** GPUs in the order of `cuda:N`; `problem` says why one cannot be used. Memory in bytes. */
    readonly devices: readonly {
      readonly name: string;
      readonly architecture: string;
      readonly memory: number;
      readonly problem: string;
    }[];
    /** NVIDIA's library of matrix products: its file, or why none is used, and files that cannot be used with the reason. */
    readonly cublas: {
      readonly file: string;
      readonly version: string;
      readonly reason: string;
      readonly tried: readonly string[];
    };
  };
  readonly compiler: string;
  readonly opsHash: bigint;
}

/** Everything that native code offers. */
export interface Addon {
  readonly Session: new (options: { device?: Device; threads?: number; tf32?: boolean }) => NativeSession;
  info(): AddonInfo;
}

const require = createRequire(import.meta.url);

/** The folder of this package, from dist/ as well as from the tests' output. */
function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'heddle') return folder;
    if (folder === dirname(folder)) throw new ConfigError(`no package.json of heddle above ${start}`);
  }
}

/** Why the installed addon was built without CUDA, where its build left a note. */
export function cudaBuildReason(): string | undefined {
  try {
    return JSON.parse(readFileSync(join(packageRoot(), 'build', 'built.json'), 'utf8')).cuda.reason;
  } catch {
    return undefined;
  }
}

let loaded: Addon | undefined;

/**
 * The native addon, loaded at the first call; the environment variable HEDDLE_ADDON names another file to load. Throws
 * ConfigError where it is not built.
 */
export function addon(): Addon {
  if (loaded) return loaded;
  const file = process.env.HEDDLE_ADDON;
  if (file) {
    try {
      loaded = require(resolve(file)) as Addon;
      return loaded;
    } catch (error) {
      throw new ConfigError(
        `HEDDLE_ADDON: ${file} does not load: ${(error as Error).message}`,
        {},
        { cause: error },
      );
    }
  }
  const bindings = require('bindings') as (options: object) => Addon;
  // The installed build first. The default list of `bindings` would take a stale build/Debug before it.
  const folders = [
    ['build', 'Release'],
    ['build-cmake', 'addon'],
    ['build-cmake', 'cmake-js', 'Release'],
  ];
  try {
    loaded = bindings({
      bindings: 'heddle',
      module_root: packageRoot(),
      try: folders.map((folder) => ['module_root', ...folder, 'bindings']),
    });
  } catch (error) {
    const { tries, message } = error as Error & { tries?: string[] };
    const problem = tries ? `is not built (looked for ${tries.join(', ')})` : `does not load: ${message}`;
    throw new ConfigError(
      `the native addon ${problem}; run npm run build:native`,
      { tries },
      { cause: error },
    );
  }
  return loaded;
}

const classes: Readonly<Record<string, typeof HeddleError>> = {
  DATA: DataError,
  SHAPE: ShapeError,
  CONFIG: ConfigError,
  OUT_OF_MEMORY: OutOfMemoryError,
  DEVICE: DeviceError,
  CLOSED: ConfigError,
};

/** An error of native code as one of the classes of errors.ts; anything else as it is. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const Class = classes[String(error.code)];
  if (!Class) return error;
  const { code, needed, free } = error as Error & { code: string; needed?: number; free?: number };
  return new Class(
    error.message,
    { code, ...(needed === undefined ? {} : { needed, free }) },
    { cause: error },
  );
}
