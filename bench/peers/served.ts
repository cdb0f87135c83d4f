// A peer is a process of its own that says what it is and then answers when asked, one line of JSON each way, so that all
// sides take turns within one run.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

/** Why a peer is not there. */
export interface Absent {
  readonly absent: string;
}

export interface Served<Ready> {
  /** What it said first. */
  readonly ready: Ready;
  /** Sends a line and returns the answer. Throws what the answer calls an error. */
  ask<Answer>(line: string): Promise<Answer>;
  close(): void;
}

/** The threads of a peer (OpenMP, OpenBLAS) spin for some time after their work, on cores that the next in turn would miss. */
export const untilThreadsSleep = (): Promise<void> => setTimeout(300);

/** The Python that has torch. */
export const python = process.env.HEDDLE_PYTHON ?? 'python3';

/** Why a command did not start. */
export const reasonOf = ({ code, message }: NodeJS.ErrnoException, command: string): string =>
  code === 'ENOENT' ? `there is no ${command}` : message;

/** Starts a process; resolves to the reason where it cannot be had. Throws where it breaks. */
export async function serve<Ready extends object>(
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Served<Ready> | Absent> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  child.stdin.on('error', () => {}); // it ended; the missing answer says so
  const failed = new Promise<string>((resolve) =>
    child.once('error', (error) => resolve(reasonOf(error, command))),
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await Promise.race([lines.next(), failed]);
  if (typeof first === 'string') return { absent: first };
  if (first.done) return { absent: `${command} ended without a word` };
  const ready = JSON.parse(first.value) as Ready | Absent;
  if ('absent' in ready) return ready;
  const ask = async (line: string) => {
    child.stdin.write(`${line}\n`);
    const { value, done } = await lines.next();
    if (done)
      throw new Error(`${[command, ...args].join(' ').slice(0, 100)} ended when it was asked to ${line}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(answer.error);
    return answer;
  };
  return { ready, ask, close: () => child.stdin.end() };
}
