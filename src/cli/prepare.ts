import * as v from 'valibot';
import { openCorpus } from '../data/corpora.js';
import { prepareTokens } from '../data/prepare.js';
import { onOff } from '../models/settingFields.js';
import { dataEntries } from '../train/settings.js';
import { defineCommand } from './commandLine.js';
import { dataProgress } from './dataProgress.js';
import { formatNumber } from './table.js';

const { data, tokenizer, vocabSize, minCount, clean, packDocuments } = dataEntries;
const schema = v.strictObject({
  data,
  tokenizer,
  vocabSize,
  minCount,
  clean,
  packDocuments,
  json: v.optional(onOff('Write one JSON object to standard output'), false),
});

export const prepare = defineCommand({
  name: 'prepare',
  summary: 'Downloads, cleans and tokenises a corpus, so that training can start at once',
  example: 'heddle prepare text8',
  schema,
  positionals: ['data'],
  async run(settings, { signal, stdout, stderr }) {
    const work = { signal, onProgress: settings.json ? undefined : dataProgress(stderr) };
    const corpus = await openCorpus(settings.data, work);
    const prepared = await prepareTokens(corpus, {
      ...work,
      tokenizer: settings.tokenizer,
      vocabSize: settings.vocabSize,
      minCount: settings.minCount,
      clean: settings.clean,
      endDocuments: settings.packDocuments,
    });
    const { source, reused } = prepared;
    const { vocabSize } = prepared.tokenizer;
    const documents = source.documents().length;
    if (settings.json) {
      const report = {
        data: settings.data,
        tokens: source.count,
        vocabSize,
        documents,
        file: source.path,
        reused,
      };
      stdout.write(`${JSON.stringify(report)}\n`);
    } else {
      stdout.write(
        `${formatNumber(source.count)} tokens of ${formatNumber(documents)} documents, vocabulary of ${vocabSize}, ` +
          `${reused ? 'found' : 'written'} in ${source.path}\n`,
      );
    }
    source.close();
  },
});
