import {
  type AddonInfo,
  addon,
  cudaBuildReason,
  type Device,
  fromNative,
  type NativeSession,
  type SessionStats,
} from './addon.js';

export type { AddonInfo, Device, SessionStats } from './addon.js';

export interface SessionOptions {
  /** 'auto' takes a GPU where there is one that works; `stats().reason` says why not. Default 'auto'. */
  device?: Device;
  /** Threads that execute CPU kernels. Results do not depend on it. Default: the cores this process may use. */
  threads?: number;
  /**
   * Lets a GPU round the operands of float32 matrix products to tf32 (10 bits of mantissa), which its tensor cores multiply.
   * Default false: float32 stays exact.
   */
  tf32?: boolean;
}

/** What the addon was built with, and what of it this machine can use. */
export function runtimeInfo(): AddonInfo {
  const info = attempt(() => addon().info());
  const reason = info.cuda.built ? undefined : cudaBuildReason();
  return reason ? { ...info, cuda: { ...info.cuda, reason: `built without CUDA: ${reason}` } } : info;
}

// Copies between JavaScript and native memory happen on the main thread: 16 MiB block it for some 3 ms.
const pieceBytes = 16 << 20;

function attempt<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw fromNative(error);
  }
}

/**
 * A device with its arenas and the programs loaded onto it. Work is done in the order of the calls on the session's own
 * thread; an idle session keeps no process alive, one with work in hand does.
 *
 * Errors: DataError for inputs of a wrong size or out of their declared range, OutOfMemoryError (with `fields.needed` and
 * `fields.free`) where a program does not fit, DeviceError for a device that failed, ConfigError (`fields.code` is
 * 'CLOSED') after close.
 */
export class Session implements Disposable {
  private closing: Promise<void> | undefined;

  private constructor(private readonly native: NativeSession) {}

  static open(options: SessionOptions = {}): Session {
    return attempt(() => new Session(new (addon().Session)(options)));
  }

  /**
   * Makes room for `programs` (arenas only grow, persistent ones keep their bytes) and gives each a number. With the
   * `stats().matmulChoices` of an earlier process matrix products are computed as they were then, where that is possible.
   */
  async load(programs: readonly Uint8Array[], matmulChoices?: string): Promise<number[]> {
    return this.native.load(programs, matmulChoices).catch(rethrow);
  }

  /**
   * Executes a program. `inputs` and `scalars` are copied before this returns and may be filled again; `outputs` is filled
   * when the promise resolves to it. At most two runs may be queued.
   */
  run<View extends ArrayBufferView>(
    program: number,
    inputs: ArrayBufferView,
    scalars: Float64Array,
    outputs: View,
  ): Promise<View> {
    return this.native.run(program, inputs, scalars, outputs).catch(rethrow);
  }

  /** As `run`, but resolves to the seconds that each instruction took. */
  profile(
    program: number,
    inputs: ArrayBufferView,
    scalars: Float64Array,
    outputs: ArrayBufferView,
  ): Promise<Float64Array> {
    return this.native.profile(program, inputs, scalars, outputs).catch(rethrow);
  }

  /**
   * Fills `view` from an arena. More than 16 MiB go in pieces, so that the event loop goes on turning: a run queued before
   * the promise resolves may then fall between two of them.
   */
  async read<View extends ArrayBufferView>(arena: string, byteOffset: number, view: View): Promise<View> {
    if (!isLarge(view)) return this.native.read(arena, byteOffset, view).catch(rethrow);
    for (const { offset, piece } of pieces(view)) {
      await this.native.read(arena, byteOffset + offset, piece).catch(rethrow);
    }
    return view;
  }

  /** Writes `view` into an arena; in pieces, as `read`. */
  async write(arena: string, byteOffset: number, view: ArrayBufferView): Promise<void> {
    if (!isLarge(view)) return this.native.write(arena, byteOffset, view).catch(rethrow);
    for (const { offset, piece } of pieces(view)) {
      await this.native.write(arena, byteOffset + offset, piece).catch(rethrow);
    }
  }

  stats(): SessionStats {
    return attempt(() => this.native.stats());
  }

  /** Finishes what is queued and gives the memory back. Closing again gives the same promise. */
  close(): Promise<void> {
    this.closing ??= this.native.close().catch(rethrow);
    return this.closing;
  }

  [Symbol.dispose](): void {
    void this.close();
  }
}

function rethrow(error: unknown): never {
  throw fromNative(error);
}

const isLarge = (view: ArrayBufferView) => ArrayBuffer.isView(view) && view.byteLength > pieceBytes;

function* pieces(view: ArrayBufferView): Generator<{ offset: number; piece: Uint8Array }> {
  for (let offset = 0; offset < view.byteLength; offset += pieceBytes) {
    const length = Math.min(pieceBytes, view.byteLength - offset);
    yield { offset, piece: new Uint8Array(view.buffer, view.byteOffset + offset, length) };
  }
}
