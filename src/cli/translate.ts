import { createInterface } from 'node:readline';
import * as v from 'valibot';
import { ConfigError } from '../errors.js';
import { bleu } from '../evaluate/bleu.js';
import { PretrainedTranslator } from '../generate/pretrained.js';
import { onOff, positiveInteger, text } from '../models/settingFields.js';
import type { Device } from '../runtime/session.js';
import { runEntries } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { beamEntries, earlyStoppingOf, repetitionEntries } from './generate.js';
import { readLines } from './lines.js';
import { openingEntries } from './opening.js';

const schema = v.pipe(
  v.strictObject({
    ...openingEntries,
    text: v.optional(text('Line to translate', { defaultFrom: 'standard input, a line each' })),
    input: v.optional(text('File with a line each to translate')),
    reference: v.optional(text('File with the right translation of each line, for BLEU')),
    maxNewTokens: v.optional(
      positiveInteger('Length of a translation', {
        unit: 'tokens',
        defaultFrom: "twice the longest source's, and 16",
      }),
    ),
    batchSize: v.optional(positiveInteger('Lines translated at once', { unit: 'lines' }), 32),
    ...beamEntries,
    numBeams: v.optional(positiveInteger('Beams of the search; with 1 it is greedy', { unit: 'beams' }), 5),
    ...repetitionEntries,
    device: runEntries.device,
    threads: runEntries.threads,
    json: v.optional(onOff('Write one JSON event a line'), false),
  }),
  v.metadata({
    groups: {
      Model: Object.keys(openingEntries),
      Text: ['text', 'input', 'reference', 'maxNewTokens', 'batchSize'],
      'Beam search': [...Object.keys(beamEntries), ...Object.keys(repetitionEntries)],
      Run: ['device', 'threads', 'json'],
    },
  }),
);

export const translate = defineCommand({
  name: 'translate',
  summary: 'Translates lines with a trained encoder-decoder, by beam search; with references it gives BLEU',
  example: "heddle translate runs/en-de --text 'A man rides a bicycle.'",
  schema,
  positionals: ['model'],
  async run(settings, { signal, stdout, stderr }) {
    const { model: folder, base, device, threads, json, numBeams, numReturnSequences } = settings;
    if (settings.text !== undefined && settings.input !== undefined) {
      throw new ConfigError('--text and --input both name what to translate; leave one out');
    }
    if (numReturnSequences > numBeams) {
      throw new ConfigError(
        `--num-return-sequences ${numReturnSequences} is more than --num-beams ${numBeams}; raise the beams`,
      );
    }
    const references = settings.reference ? await readLines(settings.reference, 'a translation') : undefined;
    const lines = settings.input ? await readLines(settings.input, 'a text') : await given(settings.text);
    if (references && references.length !== lines.length) {
      throw new ConfigError(
        `there are ${lines.length} lines to translate but ${settings.reference} has ${references.length}; they must go line by line`,
        { lines: lines.length, references: references.length },
      );
    }
    await using model = await PretrainedTranslator.open(folder, { base, device: device as Device, threads });
    const { maxNewTokens, batchSize, lengthPenalty, repetitionPenalty, noRepeatNgramSize } = settings;
    const started = performance.now();
    const found = await model.translate(lines, {
      ...{
        batchSize,
        numBeams,
        numReturnSequences,
        lengthPenalty,
        repetitionPenalty,
        noRepeatNgramSize,
        signal,
      },
      ...(maxNewTokens ? { maxNewTokens } : {}),
      earlyStopping: earlyStoppingOf[settings.earlyStopping],
      onNotice: (message) => stderr.write(`note: ${message}\n`),
    });
    const seconds = (performance.now() - started) / 1000;
    if (signal.aborted) return;
    const write = (event: object) => stdout.write(`${JSON.stringify(event)}\n`);
    found.forEach((hypotheses, index) => {
      if (json) write({ event: 'translation', source: lines[index], hypotheses });
      else for (const { text: translation } of hypotheses) stdout.write(`${translation}\n`);
    });
    const score =
      references &&
      bleu(
        found.map(([best]) => best?.text ?? ''),
        references,
      );
    if (json) write({ event: 'done', lines: lines.length, seconds, ...(score ? { bleu: score.score } : {}) });
    else if (score) {
      const { precisions, brevityPenalty, length, referenceLength } = score;
      stderr.write(
        `BLEU ${score.score.toFixed(2)} (precisions ${precisions.map((value) => value.toFixed(1)).join(' / ')}, ` +
          `brevity ${brevityPenalty.toFixed(3)}, ${length} words for ${referenceLength}), ` +
          `${lines.length} lines in ${seconds.toFixed(1)} s\n`,
      );
    }
  },
});

/** The one line given, or those of standard input. */
async function given(line: string | undefined): Promise<string[]> {
  if (line !== undefined) return [line];
  const lines: string[] = [];
  for await (const each of createInterface({ input: process.stdin })) lines.push(each);
  if (lines.length === 0)
    throw new ConfigError('nothing to translate; give --text, --input or lines on standard input');
  return lines;
}
