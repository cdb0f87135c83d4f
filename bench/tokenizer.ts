// Byte-level BPE: encoding by GPT-2's tokenizer against @huggingface/tokenizers, in turns within one run, and learning.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as Peer } from '@huggingface/tokenizers';
import { openCorpus } from '#src/data/corpora.js';
import { BpeTrainer } from '#src/text/bpeTrainer.js';
import { gpt2Tokenizer } from '#src/text/gpt2Files.js';
import { machine, median } from './machine.js';

export interface TokenizerBenchOptions {
  /** Folder with gpt2-bpe, multi30k, tinyshakespeare.txt and text8-11.5M.zip. */
  readonly data: string;
  /** Turns. */
  readonly rounds: number;
}

export const defaultTokenizerBenchOptions: TokenizerBenchOptions = { data: '../shared/data', rounds: 5 };

const texts = [
  'multi30k/train.en',
  'multi30k/train.de',
  'multi30k/val.en',
  'multi30k/val.de',
  'tinyshakespeare.txt',
];
/** Of the lines every so many are taken: the peer takes a minute for all. */
const stride = 10;
const learntTokens = 8000;

/** Rates in MB of UTF-8 a second of processor time; a ratio above 1 says how many times longer the peer takes. */
export async function benchTokenizer({ data, rounds }: TokenizerBenchOptions) {
  const read = (name: string) => readFileSync(join(data, name), 'utf8');
  const ours = gpt2Tokenizer(read('gpt2-bpe/encoder.json'), read('gpt2-bpe/vocab.bpe'));
  const peer = new Peer(JSON.parse(JSON.stringify(ours)), {});
  const lines = texts.flatMap((name) => read(name).split('\n')).filter((_, index) => index % stride === 0);
  const bytes = lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
  const encodeOurs = (): number => lines.reduce((sum, line) => sum + ours.encode(line).length, 0);
  const encodePeer = (): number =>
    lines.reduce((sum, line) => sum + peer.encode(line, { add_special_tokens: false }).ids.length, 0);
  const tokens = encodeOurs();
  if (encodePeer() !== tokens) throw new Error('the peer makes other tokens');
  const seconds = { ours: [] as number[], peer: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    seconds.ours.push(processorSeconds(encodeOurs));
    seconds.peer.push(processorSeconds(encodePeer));
  }
  const [ourMedian, peerMedian] = [median(seconds.ours), median(seconds.peer)];
  return {
    machine: machine(),
    encode: {
      lines: lines.length,
      bytes,
      tokens,
      ours: { megabytesPerSecond: bytes / ourMedian / 1e6 },
      peers: {
        huggingFaceTokenizers: {
          megabytesPerSecond: bytes / peerMedian / 1e6,
          ratio: peerMedian / ourMedian,
        },
      },
    },
    learn: await benchLearning(join(data, 'text8-11.5M.zip')),
  };
}

async function benchLearning(path: string) {
  const corpus = await openCorpus(path);
  const [{ bytes }] = corpus.documents;
  const before = process.cpuUsage();
  const trainer = new BpeTrainer({ vocabSize: learntTokens });
  for await (const text of corpus.documents[0].pieces()) trainer.add(text);
  const { vocabSize } = trainer.tokenizer();
  const { user, system } = process.cpuUsage(before);
  return { bytes, vocabSize, processorSeconds: (user + system) / 1e6 };
}

/** Time of the processor, which other programs of the machine disturb less than that of a clock. */
function processorSeconds(work: () => unknown): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
