// npm run bench -- step|soak|memory|tokenizer|features [--cases a,b] [--peers torch] [--threads N] [--rounds N] [--steps N] [--data FOLDER] [--json]
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { benchFeatures, defaultFeaturesBenchOptions } from './features.js';
import { benchMemory } from './memory.js';
import { benchSoak } from './soak.js';
import { benchStep, defaultStepOptions } from './step.js';
import { benchTokenizer, defaultTokenizerBenchOptions } from './tokenizer.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    cases: { type: 'string' },
    peers: { type: 'string' },
    threads: { type: 'string' },
    rounds: { type: 'string' },
    steps: { type: 'string' },
    data: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

const threads = Number(values.threads ?? availableParallelism());
const benchmarks: Record<string, () => Promise<object>> = {
  step: () =>
    benchStep({
      ...defaultStepOptions,
      threads,
      ...(values.cases ? { cases: values.cases.split(',') } : {}),
      ...(values.peers !== undefined ? { peers: values.peers.split(',') } : {}),
      ...(values.rounds ? { rounds: Number(values.rounds) } : {}),
    }),
  soak: () => benchSoak({ steps: Number(values.steps ?? 20_000), threads }),
  memory: () => benchMemory({ threads }),
  features: () =>
    benchFeatures({
      ...defaultFeaturesBenchOptions,
      ...(values.data ? { data: values.data } : {}),
      ...(values.rounds ? { rounds: Number(values.rounds) } : {}),
    }),
  tokenizer: () =>
    benchTokenizer({
      ...defaultTokenizerBenchOptions,
      ...(values.data ? { data: values.data } : {}),
      ...(values.rounds ? { rounds: Number(values.rounds) } : {}),
    }),
};

const chosen = benchmarks[positionals[0] ?? 'step'];
if (!chosen) {
  console.error(`unknown benchmark ${positionals[0]}; expected one of ${Object.keys(benchmarks).join(', ')}`);
  process.exitCode = 2;
} else {
  console.log(JSON.stringify(await chosen(), null, values.json ? undefined : 2));
}
