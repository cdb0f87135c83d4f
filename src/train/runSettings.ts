import { CheckpointError } from '../errors.js';
import { adaptedLayers, adapterOptions } from '../models/adapters.js';
import type { Module } from '../nn/index.js';
import type { ObjectiveData } from '../objectives/objective.js';
import type { Stepper } from './stepper.js';
import type { FilledOptions } from './trainerOptions.js';

type Settings = Readonly<Record<string, unknown>>;

/** What decides the numbers of a run besides weights, step and learning rate. */
export function runSettings<Model extends Module, Data extends ObjectiveData>(
  options: FilledOptions<Model, Data>,
  { batches, session }: Stepper<Model, Data>,
): Settings {
  const { model, seed, batchSize, gradientAccumulationSteps, objective, optimizer, clip, precision } =
    options;
  const { learningRate: _, ...optimizerSettings } = optimizer;
  const layers = adaptedLayers(model).size;
  return {
    seed,
    adapters: layers > 0 ? { ...adapterOptions(model), layers } : null,
    batchSize,
    gradientAccumulationSteps,
    objective: objective.name,
    ...objective.settings,
    optimizer: optimizerSettings,
    clip,
    precision,
    ...batches.data,
    tf32: options.tf32 ?? false,
    isa: session.stats().isa,
  };
}

/** Of runs that were saved before there was a choice. */
const unsaid: Settings = { precision: 'float32', adapters: null };

/**
 * Compares the settings of a run in the folder `out` with those it is to go on with. Returns what the user should know where results will
 * differ in the last bits; throws CheckpointError where they would be another run's.
 */
export function checkSettings(out: string, saved: Settings, now: Settings): string | undefined {
  let notice: string | undefined;
  for (const [name, before] of Object.entries({ ...unsaid, ...saved })) {
    if (JSON.stringify(before) === JSON.stringify(now[name])) continue;
    if (name !== 'isa') {
      const [was, is] = [before, now[name]].map((value) => JSON.stringify(value));
      throw new CheckpointError(
        `${out} was trained with ${name} ${was}, not ${is}; resume it with the same settings`,
        { name, before, now: now[name] },
      );
    }
    notice = `the run was on ${before} and goes on with ${now.isa}: results will differ in the last bits`;
  }
  return notice;
}
