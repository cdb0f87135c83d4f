import * as v from 'valibot';
import { estimateText } from '../inspect/estimate.js';
import { planTraining, type TrainingPlan } from '../inspect/plan.js';
import { positiveInteger } from '../models/settingFields.js';
import { clipFrom, optimizerFrom } from '../train/fromSettings.js';
import { trainSettingsSchema } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { openInspectedRun } from './inspectedRun.js';
import { formatBytes, formatNumber, formatTable } from './table.js';

// Takes every flag of train, so that a planned command line becomes a run by its first word.
const schema = v.strictObject({
  ...trainSettingsSchema.entries,
  vocabSize: v.optional(
    positiveInteger('Size of the vocabulary', {
      unit: 'tokens',
      defaultFrom: "that of the data's tokenizer",
    }),
  ),
});

export const plan = defineCommand({
  name: 'plan',
  summary: 'Shows parameters, arithmetic and memory of a training run before anything is allocated',
  example:
    'heddle plan --model-type llama --hidden-size 512 --num-hidden-layers 6 --num-attention-heads 8 --vocab-size 256',
  schema,
  async run(asked, { signal, stdout, given }) {
    const size = asked.vocabSize ?? (asked.tokenizer === 'bytes' ? 256 : undefined);
    const { settings, model, objective, ...run } = await openInspectedRun(asked, size, given, signal);
    const planned = planTraining({
      model,
      objective,
      vocabSize: run.vocabSize,
      batchSize: settings.batchSize,
      gradientAccumulationSteps: settings.gradientAccumulationSteps,
      optimizer: optimizerFrom(settings),
      clip: clipFrom(settings),
      precision: settings.precision,
      recompute: settings.recompute,
    });
    stdout.write(settings.json ? `${JSON.stringify(planned)}\n` : planText(planned));
  },
});

/** `layers.3.attention.qkv.weight` belongs to `layers.3`, all else to its first word. */
const layerOf = (name: string) => /^(layers\.\d+|[^.]+)/.exec(name)![0];

function planText(planned: TrainingPlan): string {
  const inModelOrder = [...planned.parameters].sort((a, b) => place(a.name) - place(b.name));
  const rows = inModelOrder.map(({ name, shape, count, decayed }) => [
    name,
    shape.join(' x '),
    formatNumber(count),
    decayed ? 'decayed' : '',
  ]);
  const layers = new Map<string, number>();
  for (const { name, count } of inModelOrder)
    layers.set(layerOf(name), (layers.get(layerOf(name)) ?? 0) + count);
  const flops = (value: number) => `${formatNumber(Math.round(value / 1e3) / 1e3)} MFLOP`;
  return [
    formatTable(['parameter', 'shape', 'count', ''], rows),
    formatTable(
      ['layer', 'parameters'],
      [...layers].map(([layer, count]) => [layer, formatNumber(count)]),
    ),
    `${formatNumber(planned.parameterCount)} parameters\n`,
    planned.estimate ? estimateText(planned.estimate, planned.parameterCount, formatNumber) : '',
    `a token: ${flops(planned.flopsPerToken.forward)} forward, ${flops(planned.flopsPerToken.training)} in training; ` +
      `${formatNumber(planned.tokensPerStep)} tokens a step\n`,
    `with --recompute: ${formatBytes(planned.recomputed.activations)} of activations, ` +
      `${flops(planned.recomputed.flopsPerToken)} a token in training\n`,
    formatTable(
      ['arena', 'memory'],
      [...Object.entries(planned.memory), ['total', planned.memoryTotal] as const].map(([arena, bytes]) => [
        arena,
        formatBytes(bytes as number),
      ]),
    ),
  ].join('\n');
}

function place(name: string): number {
  const first = name.split('.')[0];
  const order = ['embedding', 'positions', 'layers', 'norm', 'head'].indexOf(first);
  return order * 1e6 + Number(/^layers\.(\d+)/.exec(name)?.[1] ?? 0);
}
