import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CheckpointError } from '../errors.js';
import { asCheckpointError, sync } from './durable.js';

/** A line of the log: only what is the same on every run of the same settings. Timings go elsewhere. */
export interface MetricsRecord {
  readonly step: number;
  readonly [name: string]: number | string | boolean | null;
}

/**
 * `metrics.jsonl`: one JSON object a line, in the order of steps. Lines are gathered in memory and written by `flush`,
 * to be awaited before a checkpoint is saved, so that the log on disk is never behind the newest checkpoint.
 */
export class MetricsLog {
  #lines: string[] = [];
  #lastStep: number;

  private constructor(
    readonly path: string,
    readonly handle: FileHandle,
    lastStep: number,
  ) {
    this.#lastStep = lastStep;
  }

  /**
   * Opens the log for lines after `step`; lines of later steps and a line torn by a crash are cut off. `step` is that of
   * the checkpoint a run goes on from; -1, for a new run, empties the log. Throws CheckpointError.
   */
  static async open(path: string, step: number): Promise<MetricsLog> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'a+');
      const { end, lastStep } = await findEnd(handle, step);
      await handle.truncate(end);
      await handle.sync();
      await sync(dirname(path));
      return new MetricsLog(path, handle, lastStep);
    } catch (error) {
      await handle?.close();
      throw asCheckpointError(error, `cannot open ${path}`);
    }
  }

  /** The step of the last line, -1 for an empty log. */
  get lastStep(): number {
    return this.#lastStep;
  }

  /** Numbers that are not finite are written as null, which is what JSON has. Throws CheckpointError out of order. */
  append(record: MetricsRecord): void {
    if (record.step < this.#lastStep) {
      throw new CheckpointError(`${this.path}: step ${record.step} was logged after step ${this.#lastStep}`);
    }
    this.#lastStep = record.step;
    this.#lines.push(`${JSON.stringify(record)}\n`);
  }

  /** Writes the lines gathered and waits until the disk holds them. Throws CheckpointError. */
  async flush(): Promise<void> {
    try {
      const lines = this.#lines;
      this.#lines = [];
      if (lines.length > 0) await this.handle.appendFile(lines.join(''));
      await this.handle.sync();
    } catch (error) {
      throw asCheckpointError(error, `cannot write ${this.path}`);
    }
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.handle.close();
    }
  }
}

/** Where the whole lines up to `step` end. */
async function findEnd(handle: FileHandle, step: number): Promise<{ end: number; lastStep: number }> {
  const piece = new Uint8Array(2 ** 20);
  let end = 0;
  let lastStep = -1;
  let begun = new Uint8Array(0); // the line begun in the pieces before
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(piece, 0, piece.length, position);
    if (bytesRead === 0) return { end, lastStep };
    let lineStart = 0;
    for (
      let feed = indexOfFeed(piece, 0, bytesRead);
      feed >= 0;
      feed = indexOfFeed(piece, lineStart, bytesRead)
    ) {
      const line = Buffer.concat([begun, piece.subarray(lineStart, feed)]);
      const logged = stepOf(line.toString());
      if (logged === undefined || logged > step || logged < lastStep) return { end, lastStep };
      lastStep = logged;
      lineStart = feed + 1;
      begun = new Uint8Array(0);
      end = position + lineStart;
    }
    begun = Buffer.concat([begun, piece.subarray(lineStart, bytesRead)]);
    if (begun.length > piece.length) return { end, lastStep }; // no line of ours is that long
    position += bytesRead;
  }
}

function indexOfFeed(piece: Uint8Array, from: number, to: number): number {
  const index = piece.indexOf(0x0a, from);
  return index < to ? index : -1;
}

function stepOf(line: string): number | undefined {
  try {
    const step = (JSON.parse(line) as { step?: unknown } | null)?.step;
    return Number.isSafeInteger(step) ? (step as number) : undefined;
  } catch {
    return undefined;
  }
}
