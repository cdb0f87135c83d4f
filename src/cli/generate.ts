import * as v from 'valibot';
import { ConfigError } from '../errors.js';
import type { Hypothesis } from '../generate/beamSearch.js';
import type { Completion } from '../generate/generate.js';
import { PretrainedModel } from '../generate/pretrained.js';
import {
  choice,
  nonNegativeInteger,
  nonNegativeNumber,
  onOff,
  positiveInteger,
  positiveNumber,
  text,
} from '../models/settingFields.js';
import type { Device } from '../runtime/session.js';
import { precisions } from '../shape/dtype.js';
import { runEntries } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { readLines } from './lines.js';
import { openingEntries } from './opening.js';

const share = (what: string) => v.pipe(v.number(), v.gtValue(0), v.maxValue(1), v.description(what));

export const samplingEntries = {
  temperature: v.optional(
    nonNegativeNumber('Divides logits: below 1 likelier tokens, 0 always the likeliest', {
      defaultFrom: '1',
    }),
  ),
  topK: v.optional(nonNegativeInteger('Draw among that many likeliest tokens, with 0 among all'), 0),
  topP: v.optional(share('Draw among the fewest tokens whose probabilities add up to this'), 1),
  minP: v.optional(
    v.pipe(
      v.number(),
      v.minValue(0),
      v.maxValue(1),
      v.description('Draw among tokens at least so many times as probable as the likeliest'),
    ),
    0,
  ),
  typicalP: v.optional(
    share('Draw among the tokens of most typical surprisal whose probabilities add up to this'),
    1,
  ),
  greedy: v.optional(onOff('Always take the likeliest token'), false),
  uniform: v.optional(onOff('Draw every token with the same probability'), false),
  seed: v.optional(nonNegativeInteger('Chooses among the samples of a prompt'), 0),
} satisfies v.ObjectEntries;

export const beamEntries = {
  numBeams: v.optional(
    positiveInteger('Beams of a beam search; with 1 tokens are drawn', { unit: 'beams' }),
    1,
  ),
  numReturnSequences: v.optional(positiveInteger('Best hypotheses of a beam search that are written'), 1),
  lengthPenalty: v.optional(
    v.pipe(
      v.number(),
      v.description(
        'Power of its length by which a hypothesis divides its log-probability; above 0 longer ones gain',
      ),
    ),
    1,
  ),
  earlyStopping: v.optional(
    choice(
      ['first', 'likely', 'never'],
      'When a beam search ends: with the first numBeams ended hypotheses, when no better one is likely, or when none is possible',
    ),
    'likely',
  ),
} satisfies v.ObjectEntries;

export const repetitionEntries = {
  repetitionPenalty: v.optional(
    positiveNumber(
      'Divides the logits of tokens that were said before where they are positive, else multiplies',
    ),
    1,
  ),
  noRepeatNgramSize: v.optional(
    nonNegativeInteger('No sequence of so many tokens comes twice, with 0 any may', { unit: 'tokens' }),
    0,
  ),
} satisfies v.ObjectEntries;

const schema = v.pipe(
  v.strictObject({
    ...openingEntries,
    prompt: v.optional(v.pipe(v.string(), v.description('Text to go on from')), '\n'),
    prompts: v.optional(text('File with a prompt a line, all continued at once', { defaultFrom: 'prompt' })),
    maxNewTokens: v.optional(nonNegativeInteger('Length of what is generated', { unit: 'tokens' }), 400),
    stop: v.optional(text('Ends the text before this string; \\n is a line break', { defaultFrom: 'none' })),
    ...samplingEntries,
    ...repetitionEntries,
    ...beamEntries,
    precision: v.optional(
      choice(precisions, 'What matrices, activations and the KV cache are', {
        defaultFrom: 'as in training',
      }),
    ),
    device: runEntries.device,
    threads: runEntries.threads,
    json: v.optional(onOff('Write one JSON event a piece of text'), false),
  }),
  v.metadata({
    groups: {
      Model: Object.keys(openingEntries),
      Text: ['prompt', 'prompts', 'maxNewTokens', 'stop'],
      Sampling: [...Object.keys(samplingEntries), ...Object.keys(repetitionEntries)],
      'Beam search': Object.keys(beamEntries),
      Run: ['precision', 'device', 'threads', 'json'],
    },
  }),
);
type Settings = v.InferOutput<typeof schema>;

export const earlyStoppingOf = { first: true, likely: false, never: 'never' } as const;

export const generate = defineCommand({
  name: 'generate',
  summary: 'Continues a text with a trained model, by sampling or beam search',
  example: "heddle generate runs/book --prompt 'Once upon a time' --temperature 0.8",
  schema,
  positionals: ['model'],
  async run(settings, { signal, stdout, stderr }) {
    const { model: folder, base, prompt, device, threads, precision, json } = settings;
    refuseContradictions(settings);
    const prompts = settings.prompts ? await readLines(settings.prompts, 'a prompt') : [prompt];
    const opening = { base, device: device as Device, threads, precision };
    await using model = await PretrainedModel.open(folder, opening);
    for (const each of prompts) model.tokenizer.encode(each); // refused before anything is written
    const notices: string[] = []; // shown behind the text, which they would cut in two
    const onNotice = (message: string) => notices.push(message);
    const { maxNewTokens, repetitionPenalty, noRepeatNgramSize } = settings;
    const common = { maxNewTokens, repetitionPenalty, noRepeatNgramSize, signal, onNotice };
    const write = (event: object) => stdout.write(`${JSON.stringify(event)}\n`);
    if (settings.numBeams > 1) {
      const { numBeams, numReturnSequences, lengthPenalty } = settings;
      const earlyStopping = earlyStoppingOf[settings.earlyStopping];
      const options = { numBeams, numReturnSequences, lengthPenalty, earlyStopping, ...common };
      const found = await model.beamSearch(prompts, options);
      found.forEach((hypotheses, index) => {
        if (json)
          write({ event: 'hypotheses', prompt: prompts[index], hypotheses: hypotheses.map(hypothesisEvent) });
        else stdout.write(hypothesisLines(prompts[index], hypotheses));
      });
    } else {
      const { temperature, topK, topP, minP, typicalP, greedy, uniform, seed } = settings;
      const stop = settings.stop ? [settings.stop.replaceAll('\\n', '\n')] : [];
      const sampling = { temperature, topK, topP, minP, typicalP, greedy, uniform, seed };
      const options = { ...sampling, ...common, stop };
      if (settings.prompts) {
        const completions = await model.generateBatch(prompts, options);
        completions.forEach((completion, index) => {
          if (json) write(completionEvent(prompts[index], completion));
          else stdout.write(`${prompts[index]}${completion.text}\n`);
        });
      } else {
        if (!json) stdout.write(prompt);
        for await (const piece of model.generate(prompt, options)) {
          if (json) write({ event: 'text', text: piece });
          else stdout.write(piece);
        }
        if (!json) stdout.write('\n');
      }
    }
    if (json) write({ event: 'done' });
    for (const notice of notices) stderr.write(`note: ${notice}\n`);
  },
});

/** Beam search draws nothing and has no stop strings. */
function refuseContradictions(settings: Settings): void {
  if (settings.numReturnSequences > settings.numBeams) {
    throw new ConfigError(
      `--num-return-sequences ${settings.numReturnSequences} is more than --num-beams ${settings.numBeams}; raise the beams`,
    );
  }
  if (settings.numBeams === 1) return;
  const { temperature, topK, topP, minP, typicalP, greedy, uniform, stop } = settings;
  const asked = {
    '--temperature': temperature !== undefined,
    '--top-k': topK > 0,
    '--top-p': topP < 1,
    '--min-p': minP > 0,
    '--typical-p': typicalP < 1,
    '--greedy': greedy,
    '--uniform': uniform,
    '--stop': stop !== undefined,
  };
  const wrong = Object.entries(asked).find(([, given]) => given)?.[0];
  if (wrong) {
    throw new ConfigError(
      `${wrong} belongs to sampling, but --num-beams ${settings.numBeams} asks for beam search; leave one out`,
    );
  }
}

const total = (logProbabilities: readonly number[]) =>
  logProbabilities.reduce((sum, value) => sum + value, 0);

const completionEvent = (prompt: string, { text, tokens, logProbabilities, end }: Completion) => ({
  event: 'completion',
  prompt,
  text,
  tokens,
  logProbability: total(logProbabilities),
  logProbabilities,
  end,
});

const hypothesisEvent = ({ text, tokens, score, logProbability }: Hypothesis) => ({
  text,
  tokens,
  score,
  logProbability,
});

/** The best alone as text; several each behind its score. */
function hypothesisLines(prompt: string, hypotheses: readonly Hypothesis[]): string {
  if (hypotheses.length === 1) return `${prompt}${hypotheses[0].text}\n`;
  return hypotheses.map(({ score, text }) => `${score.toFixed(4)}  ${prompt}${text}\n`).join('');
}
