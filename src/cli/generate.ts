import * as v from 'valibot';
import { PretrainedModel } from '../generate/pretrained.js';
import { nonNegativeInteger, nonNegativeNumber, onOff, text } from '../models/settingFields.js';
import type { Device } from '../runtime/session.js';
import { runEntries } from '../train/settings.js';
import { defineCommand } from './commandLine.js';

const schema = v.strictObject({
  model: text('Folder of a run or a checkpoint'),
  prompt: v.optional(v.pipe(v.string(), v.description('Text to go on from')), '\n'),
  maxNewTokens: v.optional(nonNegativeInteger('Length of what is generated', { unit: 'tokens' }), 400),
  temperature: v.optional(
    nonNegativeNumber('Divides logits: below 1 likelier tokens, 0 always the likeliest', {
      defaultFrom: '1',
    }),
  ),
  topK: v.optional(nonNegativeInteger('Draw among that many likeliest tokens, with 0 among all'), 0),
  topP: v.optional(
    v.pipe(
      v.number(),
      v.gtValue(0),
      v.maxValue(1),
      v.description('Draw among the fewest tokens whose probabilities add up to this'),
    ),
    1,
  ),
  greedy: v.optional(onOff('Always take the likeliest token'), false),
  uniform: v.optional(onOff('Draw every token with the same probability'), false),
  seed: v.optional(nonNegativeInteger('Chooses among the samples of a prompt'), 0),
  device: runEntries.device,
  threads: runEntries.threads,
  json: v.optional(onOff('Write one JSON event a piece of text'), false),
});

export const generate = defineCommand({
  name: 'generate',
  summary: 'Continues a text with a trained model',
  example: "heddle generate runs/book --prompt 'Once upon a time' --temperature 0.8",
  schema,
  positionals: ['model'],
  async run(settings, { signal, stdout, stderr }) {
    const { model: folder, prompt, device, threads, json, ...sampling } = settings;
    await using model = await PretrainedModel.open(folder, { device: device as Device, threads });
    const notices: string[] = []; // shown behind the text, which they would cut in two
    const onNotice = (message: string) => notices.push(message);
    model.tokenizer.encode(prompt); // refused before anything is written
    if (!json) stdout.write(prompt);
    for await (const piece of model.generate(prompt, { ...sampling, signal, onNotice })) {
      stdout.write(json ? `${JSON.stringify({ event: 'text', text: piece })}\n` : piece);
    }
    stdout.write(json ? `${JSON.stringify({ event: 'done' })}\n` : '\n');
    for (const notice of notices) stderr.write(`note: ${notice}\n`);
  },
});
