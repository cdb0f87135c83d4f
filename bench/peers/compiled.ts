import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Absent } from './served.js';

const sources = 'bench/peers/native';
const binaries = 'build/bench';
const run = promisify(execFile);

/** Compiles a program of bench/peers/native unless that was done; resolves to its path, or why it cannot be had. */
export async function compiled(
  name: string,
  flags: readonly string[],
  debianPackage: string,
): Promise<string | Absent> {
  const [source, binary] = [`${sources}/${name}.cc`, `${binaries}/${name}`];
  const changed = Math.max(...[source, `${sources}/serve.h`].map((file) => statSync(file).mtimeMs));
  if (existsSync(binary) && statSync(binary).mtimeMs > changed) return binary;
  mkdirSync(binaries, { recursive: true });
  try {
    await run(process.env.CXX ?? 'g++', [
      '-std=c++17',
      '-O3',
      '-march=native',
      source,
      '-o',
      binary,
      ...flags,
    ]);
    return binary;
  } catch (error) {
    const { code, stderr = '' } = error as { code?: string; stderr?: string };
    if (code === 'ENOENT') return { absent: 'there is no C++ compiler (apt-get install g++)' };
    if (/No such file|cannot find -l/.test(stderr)) {
      return { absent: `a library is missing (apt-get install ${debianPackage})` };
    }
    throw error;
  }
}

/** Runs a compiled program to its end and reads the JSON it prints. */
async function answerOf<Answer>(name: string, args: readonly (string | number)[]): Promise<Answer | Absent> {
  const binary = await compiled(name, ['-pthread'], 'g++');
  return typeof binary === 'string' ? JSON.parse((await run(binary, args.map(String))).stdout) : binary;
}

/** GFLOP/s of a loop of independent multiply-adds on that many threads; bf16 where the processor has them. */
export const measuredPeak = (threads: number) =>
  answerOf<{ float32: number; bf16?: number }>('peak', [threads]);

/** GB/s at which that many threads read an array of so many bytes, in each of five turns. */
export const measuredBandwidth = (threads: number, bytes: number) =>
  answerOf<{ gigabytesPerSecond: number[] }>('bandwidth', [threads, bytes]);
