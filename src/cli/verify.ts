import * as v from 'valibot';
import { DeviceError } from '../errors.js';
import { verify as verifyStep } from '../inspect/verify.js';
import type { Device } from '../runtime/session.js';
import { trainSettingsSchema } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { inspectedVocabSize, openInspectedStep } from './inspectedRun.js';
import { formatTable } from './table.js';

// Takes every flag of train, so that a command line that went wrong becomes a check by its first word.
const schema = v.strictObject({
  ...trainSettingsSchema.entries,
  devices: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(auto|cpu|cuda|cuda:\d{1,3}),(auto|cpu|cuda|cuda:\d{1,3})$/, 'two devices such as cpu,cuda'),
      v.description('Two devices: the one taken for right, and the one compared with it'),
    ),
    'cpu,cuda',
  ),
  vocabSize: inspectedVocabSize,
});

export const verify = defineCommand({
  name: 'verify',
  summary: 'Runs one training step on two devices and names the first op that differs',
  example: 'heddle verify --hidden-size 128 --num-hidden-layers 4 --devices cpu,cuda',
  schema,
  async run({ devices, ...asked }, { signal, stdout, given }) {
    const { settings, step } = await openInspectedStep(asked, given, signal);
    const verification = await verifyStep({
      ...step,
      threads: settings.threads,
      devices: devices.split(',') as [Device, Device],
    });
    const { instructions, ops, difference } = verification;
    if (settings.json) stdout.write(`${JSON.stringify(verification)}\n`);
    else {
      const rows = Object.entries(ops).sort((a, b) => b[1].error - a[1].error);
      stdout.write(
        formatTable(
          ['op', 'calls', 'largest relative difference'],
          rows.map(([op, { count, error }]) => [op, String(count), error.toExponential(1)]),
        ),
      );
    }
    if (!difference) {
      if (!settings.json) stdout.write(`\nall ${instructions} instructions agree on ${devices}\n`);
      return;
    }
    const { instruction, text, element, output, values, error, allowed } = difference;
    throw new DeviceError(
      `verify: instruction ${instruction} is the first that differs between ${devices}: element ${element} of its output ${output} is ` +
        `${values[0]} and ${values[1]}, off by ${error.toExponential(2)} where ${allowed.toExponential(2)} is allowed\n${text}`,
    );
  },
});
