import * as v from 'valibot';
import { textData } from '../data/textData.js';
import { CheckpointError } from '../errors.js';
import { evaluationPrograms } from '../evaluate/program.js';
import { score } from '../evaluate/score.js';
import { PretrainedModel } from '../generate/pretrained.js';
import { choice, onOff, positiveInteger, text } from '../models/settingFields.js';
import { causal } from '../objectives/causal.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import type { Device } from '../runtime/session.js';
import { precisions } from '../shape/dtype.js';
import { dataEntries, runEntries } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { evaluateVectors } from './evaluateVectors.js';
import { formatNumber } from './table.js';

const schema = v.strictObject({
  model: text('Folder of a run or a checkpoint'),
  part: v.optional(choice(['train', 'valid', 'test'], 'Part of the text to score'), 'valid'),
  data: v.optional(text('Corpus', { defaultFrom: 'the one it was trained on' })),
  clean: v.optional(
    choice(['none', 'text8'], 'Cleaning before tokenising', { defaultFrom: 'as in training' }),
  ),
  split: v.optional(dataEntries.split.wrapped),
  batchSize: v.optional(positiveInteger('Rows scored at once', { unit: 'rows' }), 16),
  sequenceLength: v.optional(
    positiveInteger('Length of a row', { unit: 'tokens', defaultFrom: "the model's longest context" }),
  ),
  similarity: v.optional(text('Word pairs with a similarity each, to be compared with the vectors of words')),
  analogies: v.optional(text('Analogies in the format of questions-words.txt, for the vectors of words')),
  precision: v.optional(
    choice(precisions, 'What matrices, activations and the KV cache are', { defaultFrom: 'as in training' }),
  ),
  device: runEntries.device,
  threads: runEntries.threads,
  json: v.optional(onOff('Write one JSON object to standard output'), false),
});

export const evaluate = defineCommand({
  name: 'evaluate',
  summary: 'Scores a trained model on a part of a text: loss, perplexity, bits per character',
  example: 'heddle evaluate runs/book --part test',
  schema,
  positionals: ['model'],
  async run(settings, { signal, stdout, stderr }) {
    if (settings.similarity !== undefined || settings.analogies !== undefined)
      return evaluateVectors(settings, { stdout });
    const { model: folder, part, batchSize, device, threads, precision, json } = settings;
    await using pretrained = await PretrainedModel.open(folder, {
      device: device as Device,
      threads,
      precision,
    });
    const { model, table, tokenizer, session } = pretrained;
    const trained = pretrained.settings as { data?: string; clean?: 'none' | 'text8'; split?: number[] };
    const corpus = settings.data ?? trained.data;
    if (!corpus)
      throw new CheckpointError(`${folder} does not say what it was trained on; name a text with --data`);
    const data = await textData(corpus, {
      tokenizer,
      clean: settings.clean ?? trained.clean,
      split: settings.split ?? trained.split,
      signal,
      onProgress: json ? undefined : dataProgress(stderr),
    });
    const sequenceLength = settings.sequenceLength ?? model.maxPositionEmbeddings;
    const objective = causal({ sequenceLength });
    const { vocabSize } = tokenizer;
    const batches = objective.evaluation(data, part, { batchSize, seed: 0, vocabSize });
    const compiled = evaluationPrograms(model, table, objective, {
      batchSize,
      vocabSize,
      precision: pretrained.precision,
    });
    const programs = await LoadedProgram.load(session, compiled);
    const started = performance.now();
    const found = await score(batches, programs, { signal });
    const tokensPerSecond = found.tokens / ((performance.now() - started) / 1000);
    if (json) {
      stdout.write(
        `${JSON.stringify({ event: 'evaluation', part, data: corpus, ...found, tokensPerSecond })}\n`,
      );
      return;
    }
    stdout.write(
      `${part} part of ${corpus}: loss ${found.loss.toFixed(4)} nats per token, perplexity ${found.perplexity!.toFixed(3)}, ` +
        `${found.bitsPerCharacter!.toFixed(4)} bits per ${tokenizer.unit} over ${formatNumber(found.tokens)} tokens\n`,
    );
  },
});
