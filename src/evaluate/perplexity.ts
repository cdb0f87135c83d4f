import { allocateBatch, EvaluationLoader } from '../data/loader.js';
import type { PartName } from '../data/split.js';
import type { TextData } from '../data/textData.js';
import { bitsPerUnit, countUnits } from '../data/units.js';
import { encodeScalars } from '../ops/scalars.js';
import type { LoadedProgram } from '../runtime/loadedProgram.js';

export interface LanguageModelScore {
  /** Nats per token. */
  readonly loss: number;
  readonly perplexity: number;
  /** Bits per character, or per byte where tokens are bytes. */
  readonly bitsPerCharacter: number;
  /** Tokens that were predicted. */
  readonly tokens: number;
}

/** Scores a part of a text with an `evaluate` program of `batchSize` rows: every token but the first exactly once. */
export class PartEvaluator {
  private readonly loader: EvaluationLoader;
  private readonly unitsPerToken: number;

  constructor(data: TextData, part: PartName, shape: { batchSize: number; sequenceLength: number }) {
    const range = data.parts[part];
    this.loader = new EvaluationLoader(data.source, range, shape, part);
    const predicted = { start: range.start + 1, end: range.end };
    this.unitsPerToken = countUnits(data.source, predicted, data.tokenizer) / this.loader.targets;
  }

  /** `batches` bounds the work; without it the whole part counts. */
  async score(
    program: LoadedProgram,
    options: { batches?: number; signal?: AbortSignal } = {},
  ): Promise<LanguageModelScore> {
    const batch = allocateBatch(this.loader.shape);
    const scalars = encodeScalars({});
    const count = Math.min(options.batches ?? this.loader.batches, this.loader.batches);
    let lossSum = 0;
    let tokens = 0;
    for (let index = 0; index < count; index++) {
      options.signal?.throwIfAborted();
      this.loader.batchAt(index, batch);
      program.input('inputIds').set(batch.inputIds);
      program.input('targets').set(batch.targets);
      const outputs = await program.run(scalars);
      lossSum += outputs.scalar('lossSum');
      tokens += outputs.scalar('tokenCount');
    }
    const loss = lossSum / tokens;
    return {
      loss,
      perplexity: Math.exp(loss),
      bitsPerCharacter: bitsPerUnit(loss, 1, this.unitsPerToken),
      tokens,
    };
  }
}
