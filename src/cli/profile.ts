import { writeFile } from 'node:fs/promises';
import * as v from 'valibot';
import { chromeTrace, type Profile, profileRows, profile as profileStep } from '../inspect/profile.js';
import { choice, onOff, positiveInteger, text } from '../models/settingFields.js';
import type { Device } from '../runtime/session.js';
import { trainSettingsSchema } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { inspectedVocabSize, openInspectedStep } from './inspectedRun.js';
import { formatTable } from './table.js';

// Takes every flag of train, so that a slow command line becomes a profile by its first word.
const schema = v.strictObject({
  ...trainSettingsSchema.entries,
  vocabSize: inspectedVocabSize,
  program: v.optional(
    choice(['step', 'first', 'accumulate', 'update', 'evaluate'], 'Program of the run'),
    'step',
  ),
  runs: v.optional(positiveInteger('Runs whose median is taken'), 20),
  shapes: v.optional(onOff('Tell instructions of one op apart by their shapes'), false),
  trace: v.optional(text('File for a Chrome trace of a run')),
});

export const profile = defineCommand({
  name: 'profile',
  summary: 'Times every instruction of a training step: milliseconds, GFLOP/s and GB/s by op',
  example: 'heddle profile --hidden-size 384 --num-hidden-layers 6 --num-attention-heads 6 --trace step.json',
  schema,
  async run({ program, runs, shapes, trace, ...asked }, { signal, stdout, given }) {
    const { settings, step } = await openInspectedStep(asked, given, signal);
    const { device, threads, tf32 } = settings;
    const found = await profileStep({ ...step, device: device as Device, threads, tf32, program, runs });
    if (trace) await writeFile(trace, JSON.stringify(chromeTrace(found)));
    stdout.write(settings.json ? `${JSON.stringify(found)}\n` : profileText(found, shapes));
  },
});

function profileText({ device, seconds, flops, instructions }: Profile, shapes: boolean): string {
  const total = instructions.reduce((sum, instruction) => sum + instruction.seconds, 0);
  const rows = profileRows(instructions, shapes).map((row) => [
    row.op,
    String(row.calls),
    (row.seconds * 1e3).toFixed(3),
    ((row.seconds / total) * 100).toFixed(1),
    row.flops > 0 ? (row.flops / row.seconds / 1e9).toFixed(1) : '',
    (row.bytes / row.seconds / 1e9).toFixed(1),
    row.operands,
  ]);
  const heading = ['op', 'calls', 'ms', '%', 'GFLOP/s', 'GB/s', ...(shapes ? ['operands'] : [])];
  const numbers = (place: number) => place > 0 && place < 6;
  const widest = heading.map((title, place) =>
    Math.max(title.length, ...rows.map((row) => row[place].length)),
  );
  const aligned = rows.map((row) =>
    row.map((cell, place) => (numbers(place) ? cell.padStart(widest[place]) : cell)),
  );
  return (
    `${formatTable(heading, aligned)}\n\n` +
    `${instructions.length} instructions in ${(total * 1e3).toFixed(2)} ms, ${(seconds * 1e3).toFixed(2)} ms as one run ` +
    `(${(flops / seconds / 1e9).toFixed(1)} GFLOP/s), on ${device.device} (${device.isa}, ${device.workers} threads)\n`
  );
}
