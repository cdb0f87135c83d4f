import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Stage, verdict } from './stage.js';

const tools = ['memcheck', 'synccheck', 'initcheck', 'racecheck'];
const candidates = [
  'compute-sanitizer',
  ...[process.env.CUDA_HOME, '/usr/local/cuda'].map((home) => `${home}/bin/compute-sanitizer`),
];
/** Of a sample: the tools slow kernels down by some hundred times. */
const largestFlops = 1e5;
/** What compute-sanitizer is told to end with where it found something. */
const foundErrors = 99;

const runs = (command: string) =>
  (!command.includes('/') || existsSync(command)) && spawnSync(command, ['--version']).status === 0;

/** The small samples under the four tools of compute-sanitizer. */
export const sanitizer: Stage = async ({ device, record, secondsLeft, quick }) => {
  if (device === 'cpu')
    return { status: 'skipped', reason: 'compute-sanitizer watches GPUs, and the device is the CPU' };
  const command = candidates.find(runs);
  if (!command) return { status: 'skipped', reason: 'compute-sanitizer is not installed' };
  const program = fileURLToPath(new URL('./samples.js', import.meta.url));
  const results: Record<string, object> = {};
  const isClean: boolean[] = [];
  for (const [index, tool] of tools.entries()) {
    // What the earlier ones left over is shared by those to come.
    const seconds = (secondsLeft() - 5) / (tools.length - index);
    const options = ['--tool', tool, '--error-exitcode', String(foundErrors), '--print-limit', '20'];
    const { status, signal, stdout, stderr } = spawnSync(
      command,
      [...options, process.execPath, program, String(quick ? 1e3 : largestFlops)],
      {
        encoding: 'utf8',
        timeout: Math.max(1, Math.round(1000 * seconds)),
        killSignal: 'SIGKILL',
        maxBuffer: 2 ** 28,
        env: { ...process.env, HEDDLE_TEST_DEVICE: device },
      },
    );
    const text = `${stdout}${stderr}`;
    console.log(`-- ${tool}\n${text}`);
    const summary = text.split('\n').findLast((line) => line.includes('SUMMARY'));
    const outcome = signal
      ? `killed after ${Math.round(seconds)} s`
      : status === 0
        ? 'clean'
        : `exit code ${status}`;
    const excerpt =
      status === 0
        ? []
        : text
            .split('\n')
            .filter((line) => line.startsWith('====='))
            .slice(0, 60);
    results[tool] = { outcome, summary, excerpt };
    isClean.push(status === 0 && summary !== undefined);
    record({ largestFlops, tools: results });
  }
  return verdict(isClean.every(Boolean));
};
