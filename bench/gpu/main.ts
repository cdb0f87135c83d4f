// Runs the stages one after the other, each in a process of its own and within its own time, and renews report.json after
// each of them: what run.sh of the GPU bundle starts. Options: see run.sh.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Device } from '#src/runtime/session.js';
import { attentionRates } from './attention.js';
import { benchmark } from './benchmark.js';
import { caseNames } from './cases.js';
import { conformance } from './conformance.js';
import { curves } from './curves.js';
import { doctor } from './doctor.js';
import { sanitizer } from './sanitizer.js';
import { type Stage, type StageContext, writeJson } from './stage.js';
import { determinism, parity, resume } from './training.js';

/** In the order they run, with the most seconds that each may take of a run of several. */
const stages: Readonly<Record<string, { readonly run: Stage; readonly seconds: number }>> = {
  doctor: { run: doctor, seconds: 60 },
  conformance: { run: conformance, seconds: 300 },
  parity: { run: parity, seconds: 120 },
  determinism: { run: determinism, seconds: 120 },
  resume: { run: resume, seconds: 120 },
  sanitizer: { run: sanitizer, seconds: 240 },
  curves: { run: curves, seconds: 120 },
  attention: { run: attentionRates, seconds: 120 },
  benchmark: { run: benchmark, seconds: 540 },
};
const stageNames = Object.keys(stages);
/** Less than this is not worth starting a stage for. */
const leastSeconds = 5;

class UsageError extends Error {}

function listOf(option: string, text: string | undefined, known: readonly string[]): string[] {
  const names = (text ?? '').split(',').filter(Boolean);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new UsageError(`--${option}: expected some of ${known.join(', ')}, got ${unknown}`);
  return names;
}

function readOptions() {
  let values: Record<string, string | boolean | undefined>;
  try {
    const text = { type: 'string' } as const;
    ({ values } = parseArgs({
      options: {
        only: text,
        seconds: text,
        out: text,
        base: text,
        device: text,
        cases: text,
        peers: text,
        quick: { type: 'boolean', default: false },
        stage: text,
        result: text,
      },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { seconds = '540', device = 'cuda', peers = 'on' } = values as Record<string, string | undefined>;
  if (!(Number(seconds) > 0)) throw new UsageError(`--seconds: expected a number above 0, got ${seconds}`);
  if (!/^(cpu|cuda|cuda:\d+)$/.test(device))
    throw new UsageError(`--device: expected cuda, cuda:N or cpu, got ${device}`);
  if (!['on', 'off'].includes(peers)) throw new UsageError(`--peers: expected on or off, got ${peers}`);
  const { only, cases, stage, result, out = 'gpu-report', base = '.' } = values as Record<string, string>;
  const chosen = listOf('only', only, stageNames);
  return {
    only: chosen.length ? stageNames.filter((name) => chosen.includes(name)) : stageNames,
    cases: listOf('cases', cases, caseNames),
    seconds: Number(seconds),
    device: device as Device,
    peers: peers === 'on',
    quick: values.quick === true,
    out: resolve(base, out),
    stage,
    result,
  };
}
type Options = ReturnType<typeof readOptions>;

// ---- one stage, in the process started for it

async function runStage({ stage, result, seconds, device, quick, cases, peers }: Options): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  let found: Readonly<Record<string, unknown>> = {};
  const record: StageContext['record'] = (more) => {
    found = { ...found, ...more };
    writeJson(result, found);
  };
  const secondsLeft = () => (end - performance.now()) / 1000;
  try {
    record(await stages[stage].run({ device, quick, cases, peers, secondsLeft, record }));
  } catch (error) {
    const { message, stack, fields } = error as Error & { fields?: object };
    record({ status: 'failed', error: message, fields, stack: stack?.split('\n').slice(1, 8) });
  }
}

// ---- all of them

let child: ChildProcess | undefined;

/** A stage and whatever it started: they share its process group. */
function killStage(): void {
  if (child?.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

/** Starts a stage and resolves to what it recorded, with how it ended. */
async function superviseStage(name: string, seconds: number, { out, ...options }: Options) {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-stage-'));
  const result = join(folder, 'result.json');
  const { device, quick, cases, peers } = options;
  const args = ['--stage', name, '--result', result, '--seconds', String(seconds), '--device', device];
  args.push('--peers', peers ? 'on' : 'off', '--cases', cases.join(','), ...(quick ? ['--quick'] : []));
  const started = performance.now();
  const log = join(out, 'log.txt');
  appendFileSync(log, `\n== ${name}, at most ${Math.round(seconds)} s\n`);
  child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    killStage();
  }, 1000 * seconds);
  let tail = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      appendFileSync(log, text);
      tail = (tail + text).slice(-4000);
    });
  }
  const ended = await new Promise<{ code: number | null; signal: string | null }>((done) => {
    child!.once('error', (error) => {
      tail += error.message;
      done({ code: null, signal: null });
    });
    child!.once('close', (code, signal) => done({ code, signal }));
  });
  clearTimeout(timer);
  killStage(); // what it left running
  const found = existsSync(result) ? JSON.parse(readFileSync(result, 'utf8')) : {};
  rmSync(folder, { recursive: true, force: true });
  const took = Math.round((performance.now() - started) / 10) / 100;
  const how = { seconds: took, limit: Math.round(seconds) };
  if (isLate) return { status: 'timed out', ...how, ...omitStatus(found) };
  if (ended.code === 0 && found.status) return { ...found, ...how };
  const outcome = ended.signal ?? `exit code ${ended.code}`;
  return { status: 'crashed', outcome, ...how, ...omitStatus(found), tail: tail.split('\n').slice(-30) };
}

const omitStatus = ({ status: _, ...rest }: Record<string, unknown>) => rest;

function gpuName(): string | undefined {
  try {
    const query = ['--query-gpu=name,driver_version,memory.total,compute_cap', '--format=csv,noheader'];
    const options = { encoding: 'utf8', stdio: 'pipe', timeout: 20_000 } as const;
    return execFileSync('nvidia-smi', query, options).trim();
  } catch {
    return undefined;
  }
}

/** Stages of an earlier call are kept. */
function earlierStages(file: string): Record<string, object> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).stages ?? {};
  } catch {
    return {};
  }
}

async function runAll(options: Options): Promise<void> {
  const { only, seconds, out, device, quick } = options;
  const end = performance.now() + 1000 * seconds;
  mkdirSync(out, { recursive: true });
  const file = join(out, 'report.json');
  const report = {
    date: new Date().toISOString(),
    node: process.version,
    processor: cpus()[0]?.model.trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    gpu: gpuName() ?? 'none: nvidia-smi does not answer',
    cublas: process.env.HEDDLE_CUBLAS ?? 'HEDDLE_CUBLAS is not set',
    device,
    quick,
    stages: earlierStages(file),
  };
  const bad: string[] = [];
  for (const name of only) {
    const left = (end - performance.now()) / 1000;
    if (left < leastSeconds) {
      report.stages[name] ??= { status: 'not run', reason: `no time left; sh run.sh --only ${name}` };
    } else {
      const limit = only.length === 1 ? left : Math.min(left, stages[name].seconds);
      report.stages[name] = await superviseStage(name, limit, options);
    }
    writeJson(file, report);
    const { status, reason, seconds: took } = report.stages[name] as Record<string, unknown>;
    console.log(`${name}: ${status}${reason ? `, ${reason}` : ''}${took === undefined ? '' : `, ${took} s`}`);
    if (!['passed', 'skipped', 'not run'].includes(String(status))) bad.push(name);
  }
  console.log(`${file}${bad.length ? `; not passed: ${bad.join(', ')}` : ''}`);
  process.exitCode = bad.length ? 1 : 0;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    killStage();
    process.exit(1);
  });
}

try {
  const options = readOptions();
  await (options.stage ? runStage(options) : runAll(options));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`gpu-bundle: ${error.message}; see run.sh --help`);
  process.exitCode = 2;
}
