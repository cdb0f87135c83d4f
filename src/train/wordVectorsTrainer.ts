import {
  type CheckpointFile,
  hasCheckpoints,
  latestCheckpoint,
  readCheckpointJson,
  saveCheckpoint,
} from '../checkpoint/checkpoint.js';
import { makeFolder } from '../checkpoint/durable.js';
import { MetricsLog } from '../checkpoint/metricsLog.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { compile } from '../compile/index.js';
import { SkipGramData } from '../data/skipGrams.js';
import type { TokenSource } from '../data/tokenSource.js';
import { CheckpointError, ConfigError } from '../errors.js';
import { tensorSources } from '../generate/modelFiles.js';
import { Graph } from '../graph/graph.js';
import { type CheckpointTensor, checkpointTensors } from '../models/checkpointTensors.js';
import { initialValues } from '../models/initialize.js';
import { type ParameterTable, parameterTable } from '../models/parameterTable.js';
import { readTensors } from '../models/weights.js';
import { WordVectors } from '../models/wordVectors.js';
import { appendSkipGram, skipGramSlots } from '../objectives/skipGram.js';
import { encodeScalars, maxSkipGramWindow } from '../ops/index.js';
import { LoadedProgram } from '../runtime/loadedProgram.js';
import { Session, type SessionOptions } from '../runtime/session.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** What is left out takes the value of `wordVectorDefaults`. */
export interface WordVectorsOptions extends Partial<typeof wordVectorDefaults>, SessionOptions {
  /** A text of words, as `textData(path, { tokenizer: 'words', minCount: 5 })` gives it. */
  readonly data: { readonly source: TokenSource; readonly tokenizer: Tokenizer };
  /** Folder of the run: checkpoints and metrics.jsonl. Without it nothing is kept on disk. */
  readonly out?: string;
  /** Kept as settings.json beside the vectors. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

export const wordVectorDefaults = {
  /** Elements of a vector. */
  hiddenSize: 100,
  /** The farthest a context may be from its centre; each centre draws its own reach from 1 to it. */
  window: 5,
  negatives: 5,
  /** Threshold of sub-sampling frequent words; 0 keeps all. */
  subsample: 1e-4,
  epochs: 15,
  /** Falls linearly to a ten thousandth of itself. */
  learningRate: 0.025,
  seed: 1,
  /** Words of the text that a step goes over. */
  chunkLength: 65_536,
  /** Steps between checkpoints; 0 saves only at the end. */
  checkpointEvery: 0,
  /** Goes on from the newest whole checkpoint in `out`. */
  resume: false,
};

export type WordVectorsEvent =
  | {
      readonly event: 'step';
      readonly step: number;
      /** Nats per pair of a centre and a context, its negatives included; NaN where a chunk has no pair. */
      readonly loss: number;
      readonly learningRate: number;
      readonly wordsPerSecond: number;
    }
  | { readonly event: 'checkpoint'; readonly step: number; readonly folder: string }
  | {
      readonly event: 'done';
      readonly step: number;
      readonly wordsPerSecond: number;
      readonly seconds: number;
      readonly reason: 'finished' | 'aborted';
    };

/** Trains word vectors by skip-gram with negative sampling: a step is one native call over a chunk of the text. */
export class WordVectorsTrainer {
  readonly model: WordVectors;
  readonly session: Session;
  private readonly options: Required<Omit<WordVectorsOptions, 'out' | 'device' | 'threads'>> & {
    out?: string;
  };
  private readonly table: ParameterTable;
  private readonly tensors: readonly CheckpointTensor[];
  private readonly skipGrams: SkipGramData;
  private program: LoadedProgram | undefined;
  private step = 0;

  constructor({ device, threads, ...options }: WordVectorsOptions) {
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.options = { ...wordVectorDefaults, settings: {}, ...given } as typeof this.options;
    const { data, hiddenSize, window, epochs, chunkLength, resume, out } = this.options;
    for (const [name, value] of Object.entries({ hiddenSize, window, epochs, chunkLength })) {
      if (Number.isSafeInteger(value) && value >= 1) continue;
      throw new ConfigError(`${name} must be a whole number of at least 1, but it is ${value}`, {
        [name]: value,
      });
    }
    if (window > maxSkipGramWindow) {
      throw new ConfigError(`window is ${window}; use at most ${maxSkipGramWindow}`, { window });
    }
    if (resume && !out) throw new ConfigError('resume needs the folder of the run in out');
    this.skipGrams = new SkipGramData(data.source, data.tokenizer, this.options);
    this.model = new WordVectors({ vocabSize: data.tokenizer.vocabSize, hiddenSize });
    this.table = parameterTable(this.model);
    this.tensors = checkpointTensors(this.model, this.table);
    this.session = Session.open({ device, threads });
  }

  /** Words of the vocabulary in the text. */
  get words(): number {
    return this.skipGrams.words;
  }

  get maxSteps(): number {
    return this.options.epochs * this.skipGrams.chunksPerEpoch;
  }

  /** Trains until all epochs are over or the signal, and reports as it goes. */
  async *run({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<WordVectorsEvent> {
    const { out, resume, checkpointEvery } = this.options;
    const program = await this.load();
    if (resume) await this.restore();
    else if (out && (await hasCheckpoints(out))) {
      throw new ConfigError(
        `${out} holds checkpoints of an earlier run; resume it, or choose another folder`,
        { out },
      );
    }
    if (out) await makeFolder(out);
    const log = out
      ? await MetricsLog.open(`${out}/metrics.jsonl`, this.step > 0 ? this.step : -1)
      : undefined;
    const started = performance.now();
    const firstStep = this.step;
    const { words, chunksPerEpoch } = this.skipGrams;
    const wordsPerStep = words / chunksPerEpoch;
    const rate = () => ((this.step - firstStep) * wordsPerStep) / ((performance.now() - started) / 1000);
    const save = async () => {
      await log?.flush();
      return { event: 'checkpoint', step: this.step, folder: await this.save(out!) } as const;
    };
    try {
      while (this.step < this.maxSteps && !signal?.aborted) {
        const learningRate = this.learningRateAt(this.step);
        this.skipGrams.chunkAt(this.step, program.input('ids'));
        const { seed } = this.options;
        const outputs = await program.run(encodeScalars({ learningRate, seed, step: this.step }));
        this.step++;
        const loss = outputs.scalar('lossSum') / outputs.scalar('pairCount');
        const event = { event: 'step', step: this.step, loss, learningRate } as const;
        log?.append(event);
        yield { ...event, wordsPerSecond: rate() };
        if (out && checkpointEvery > 0 && this.step % checkpointEvery === 0 && this.step < this.maxSteps)
          yield await save();
      }
      const wordsPerSecond = this.step > firstStep ? rate() : 0;
      if (out && this.step > firstStep) yield await save();
      const reason = this.step < this.maxSteps ? 'aborted' : 'finished';
      const seconds = (performance.now() - started) / 1000;
      yield { event: 'done', step: this.step, wordsPerSecond, seconds, reason };
    } finally {
      await log?.close();
    }
  }

  /** The vectors of all words as centres, row by row. */
  async vectors(): Promise<Float32Array> {
    await this.load();
    const { vocabSize, hiddenSize } = this.model.config;
    return this.session.read(
      'parameters',
      this.model.centres.slot!.offset,
      new Float32Array(vocabSize * hiddenSize),
    );
  }

  /** Writes a checkpoint to a run folder and returns the checkpoint's folder. */
  async save(runFolder: string): Promise<string> {
    await this.load();
    return saveCheckpoint(runFolder, this.step, this.files());
  }

  /** Finishes what is queued and gives the device's memory back. */
  close(): Promise<void> {
    return this.session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private learningRateAt(step: number): number {
    return this.options.learningRate * Math.max(1e-4, 1 - step / this.maxSteps);
  }

  private async load(): Promise<LoadedProgram> {
    if (this.program) return this.program;
    const graph = new Graph();
    const slots = skipGramSlots(this.model.config.vocabSize);
    appendSkipGram(graph, this.model, slots, this.options);
    const { elements, layoutHash } = this.table;
    const compiled = compile(graph, { arenas: { parameters: { bytes: 4 * elements, layoutHash } } });
    const [program] = await LoadedProgram.load(this.session, [compiled]);
    for (const { entry, values } of initialValues(this.model, this.table, this.options.seed)) {
      await this.session.write('parameters', entry.slot.offset, values);
    }
    const { keep, negatives } = this.skipGrams;
    await this.session.write('optimizerState', slots.keep.offset, keep);
    await this.session.write('optimizerState', slots.aliasProbability.offset, negatives.probability);
    await this.session.write('optimizerState', slots.alias.offset, negatives.alias);
    this.program = program;
    return program;
  }

  /** What decides the numbers of a run besides vectors and step. */
  private runSettings(): Record<string, unknown> {
    const { window, negatives, subsample, epochs, learningRate, seed, chunkLength, hiddenSize } =
      this.options;
    const { words } = this.skipGrams;
    return { window, negatives, subsample, epochs, learningRate, seed, chunkLength, hiddenSize, words };
  }

  private files(): CheckpointFile[] {
    const sources = tensorSources(this.session, 'parameters', this.tensors);
    const { vocabSize, hiddenSize } = this.model.config;
    const config = { model_type: 'word_vectors', vocab_size: vocabSize, hidden_size: hiddenSize };
    return [
      { name: 'config.json', json: config },
      { name: 'tokenizer.json', json: this.options.data.tokenizer.toJSON() },
      { name: 'settings.json', json: this.options.settings },
      { name: 'model.safetensors', write: (path) => writeSafetensors(path, sources, { format: 'pt' }) },
      { name: 'trainer.json', json: { version: 1, step: this.step, run: this.runSettings() } },
    ];
  }

  private async restore(): Promise<void> {
    const checkpoint = await latestCheckpoint(this.options.out!);
    const { folder } = checkpoint;
    const position = (await readCheckpointJson(checkpoint, 'trainer.json')) as {
      version?: number;
      step: number;
      run: Record<string, unknown>;
    };
    if (position?.version !== 1 || !Number.isSafeInteger(position.step)) {
      throw new CheckpointError(`${folder}/trainer.json is no position of a run; start the run anew`);
    }
    for (const [name, now] of Object.entries(this.runSettings())) {
      const before = position.run?.[name];
      if (before === now) continue;
      throw new CheckpointError(
        `${folder} was trained with ${name} ${before}, not ${now}; resume it with the same settings`,
        { name, before, now },
      );
    }
    await readTensors(`${folder}/model.safetensors`, this.tensors, (offset, values) =>
      this.session.write('parameters', offset, values),
    );
    this.step = position.step;
  }
}
