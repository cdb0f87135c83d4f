import { benchAttention } from './attention.js';
import type { BenchOptions } from './commandLine.js';
import { benchFeatures, defaultFeaturesBenchOptions } from './features.js';
import { benchGemm } from './gemm.js';
import { benchGenerate } from './generate.js';
import { benchMemory } from './memory.js';
import { benchOverhead } from './overhead.js';
import { benchScaling } from './scaling.js';
import { benchSoak } from './soak.js';
import { benchStep } from './step.js';
import { benchTokenizer, defaultTokenizerBenchOptions } from './tokenizer.js';

export type Benchmark = (options: BenchOptions) => Promise<object>;

/** What was given of the options of a benchmark over its own data. */
const given = ({ data, rounds }: BenchOptions) => ({
  ...(data !== undefined && { data }),
  ...(rounds !== undefined && { rounds }),
});

export const benchmarks: Readonly<Record<string, Benchmark>> = {
  step: benchStep,
  gemm: benchGemm,
  overhead: benchOverhead,
  memory: benchMemory,
  generate: benchGenerate,
  attention: benchAttention,
  scaling: benchScaling,
  soak: ({ steps = 20_000, threads }) => benchSoak({ steps, threads }),
  features: (options) => benchFeatures({ ...defaultFeaturesBenchOptions, ...given(options) }),
  tokenizer: (options) => benchTokenizer({ ...defaultTokenizerBenchOptions, ...given(options) }),
};

/** What `all` runs. */
export const timedBenchmarks = ['step', 'gemm', 'overhead', 'memory', 'generate', 'attention', 'scaling'];
