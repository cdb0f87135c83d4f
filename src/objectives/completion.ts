import type { PairData } from '../data/rowData.js';
import { ConfigError } from '../errors.js';
import type { LanguageModel } from '../models/decoder.js';
import { crossEntropy } from '../ops/index.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { PredictionTally } from './metrics.js';
import type { Objective } from './objective.js';
import { rowObjective } from './rowObjective.js';
import { likeliest } from './sequenceToSequence.js';

export interface CompletionOptions {
  /** Lengths that batches are padded to, ascending, at most eight. Longer rows are left out. */
  lengths: readonly number[];
  /** What a completion ends with. */
  eos: number;
  /** Share of the target's probability that is spread over the vocabulary, in training only. Default 0. */
  labelSmoothing?: number;
}

/**
 * The token that completions end with: the tokenizer's eos, else that of a line break, so that the vocabulary stays that of the
 * pretrained model. Throws ConfigError where the tokenizer has neither.
 */
export function completionEnd(tokenizer: Tokenizer): number {
  const { eos = tokenizer.encode('\n')[0] } = tokenizer.specialTokens;
  if (eos !== undefined) return eos;
  throw new ConfigError(
    `a ${tokenizer.kind} tokenizer has no token that could end a completion; train one with the special token eos`,
  );
}

/** Fine-tuning of a language model on prompts and completions: the loss is that of the completion and its end alone. */
export function completion({
  lengths,
  eos,
  labelSmoothing = 0,
}: CompletionOptions): Objective<LanguageModel, PairData> {
  return rowObjective<LanguageModel, PairData>({
    name: 'completion',
    settings: { lengths, eos, labelSmoothing },
    continuesTexts: true,
    buckets: (batchSize) => lengths.map((length) => ({ rows: batchSize, length })),
    inputs: ({ rows, length }, vocabSize) => [
      { name: 'inputIds', shape: [rows, length], dtype: 'i32', minimum: 0, limit: vocabSize },
      { name: 'targets', shape: [rows, length], dtype: 'i32', minimum: -1, limit: vocabSize },
    ],
    loss: (model, { inputIds, targets }, training) => {
      const { logits } = model.forward({ inputIds });
      const loss = crossEntropy(logits, targets, training ? labelSmoothing : 0);
      return training ? loss : { ...loss, outputs: { predictions: likeliest(logits) } };
    },
    // A row is padded behind its end, where causal attention never looks.
    padding: { targets: -1 },
    rows(data, part, { batchSize }) {
      const pairs = data.parts[part];
      if (!pairs) return undefined;
      const { source, target } = pairs;
      const lengthOf = (row: number) => source.lengthOf(row) + target.lengthOf(row);
      return {
        count: source.count,
        bucketOf: (row) => lengths.findIndex((length) => Math.max(1, lengthOf(row)) <= length),
        fill(arrays, place, row) {
          const { inputIds, targets } = arrays as Record<string, Int32Array>;
          const begin = place * (inputIds.length / batchSize);
          const [prompt, length] = [source.lengthOf(row), lengthOf(row)];
          source.read(row, inputIds, begin, prompt);
          target.read(row, inputIds, begin + prompt, length - prompt);
          // The last token of the prompt says the first of the completion; without a prompt nothing says it.
          const first = Math.max(1, prompt);
          targets.set(inputIds.subarray(begin + first, begin + length), begin + first - 1);
          if (length > 0) targets[begin + length - 1] = eos;
          return length;
        },
      };
    },
    tally: () => new PredictionTally(),
  });
}
