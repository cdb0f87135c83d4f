// A peer is a process of its own that is given a case, says `ready`, and then makes steps when asked, so that all sides
// take turns within one run. One line of JSON each way.
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Why a peer is not there. */
export interface Absent {
  readonly absent: string;
}

export interface ServedPeer {
  readonly version: string;
  /** Of the batch and the weights it was given, in nats per token. */
  readonly loss: number;
  /** Makes steps and returns the seconds that each took. */
  time(count: number): Promise<number[]>;
  close(): void;
}

interface Ready {
  readonly absent?: string;
  readonly version: string;
  readonly loss: number;
}

/** Starts the process; resolves to the reason where it cannot be had. Throws where it breaks. */
export async function servePeer(command: string, args: readonly string[]): Promise<ServedPeer | Absent> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => {}); // it ended; the missing answer says so
  const failed = new Promise<string>((resolve) => child.once('error', ({ message }) => resolve(message)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await Promise.race([lines.next(), failed]);
  if (typeof first === 'string') return { absent: first };
  if (first.done) return { absent: `${command} ended without a word` };
  const { absent, version, loss } = JSON.parse(first.value) as Ready;
  if (absent !== undefined) return { absent };
  return { version, loss, time: (count) => askForSteps(child, lines, count), close: () => child.stdin.end() };
}

async function askForSteps(
  child: ChildProcess,
  lines: AsyncIterator<string>,
  count: number,
): Promise<number[]> {
  child.stdin!.write(`step ${count}\n`);
  const { value, done } = await lines.next();
  if (done)
    throw new Error(
      `${child.spawnargs.slice(0, 2).join(' ')} ended during its steps; its own message is above`,
    );
  const answer = JSON.parse(value) as { seconds?: number[]; error?: string };
  if (!answer.seconds) throw new Error(answer.error ?? `no seconds in ${value}`);
  return answer.seconds;
}
