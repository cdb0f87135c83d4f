import * as v from 'valibot';
import { mergeCheckpoint } from '../generate/mergeCheckpoint.js';
import { onOff, text } from '../models/settingFields.js';
import type { Device } from '../runtime/session.js';
import { runEntries } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { openingEntries } from './opening.js';

const schema = v.strictObject({
  ...openingEntries,
  out: text('Folder for the plain model, which must not be there yet'),
  device: runEntries.device,
  threads: runEntries.threads,
  json: v.optional(onOff('Write one JSON object to standard output'), false),
});

export const merge = defineCommand({
  name: 'merge',
  summary: 'Adds the adapters of a run to the weights of their base, giving a plain model',
  example: 'heddle merge runs/adapted --out runs/merged',
  schema,
  positionals: ['model'],
  async run({ model, base, out, device, threads, json }, { stdout }) {
    await mergeCheckpoint(model, out, { base, device: device as Device, threads });
    stdout.write(
      json ? `${JSON.stringify({ event: 'merged', model, folder: out })}\n` : `${model} merged into ${out}\n`,
    );
  },
});
