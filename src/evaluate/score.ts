import type { Metrics } from '../objectives/metrics.js';
import type { EvaluationBatches } from '../objectives/objective.js';
import { encodeScalars } from '../ops/scalars.js';
import type { LoadedProgram } from '../runtime/loadedProgram.js';

/** What a model reaches on a part of its data. */
export interface Score extends Metrics {
  /** Mean over targets, in nats. */
  readonly loss: number;
  /** Targets that were scored. */
  readonly tokens: number;
}

// Predictions are the likeliest tokens: what op `sample` gives at temperature 0.
const scalars = encodeScalars({ temperature: 0 });

/**
 * Goes over a part with the `evaluate` programs of its objective, one a bucket. `batches` bounds the work; without it the
 * whole part counts.
 */
export async function score(
  part: EvaluationBatches,
  programs: readonly LoadedProgram[],
  options: { batches?: number; signal?: AbortSignal } = {},
): Promise<Score> {
  const count = Math.min(options.batches ?? part.count, part.count);
  const tally = part.tally();
  let lossSum = 0;
  let tokens = 0;
  for (let index = 0; index < count; index++) {
    options.signal?.throwIfAborted();
    const batch = part.batchAt(index);
    const program = programs[batch.bucket];
    program.fill(batch.arrays);
    const outputs = await program.run(scalars);
    tally.add(batch, outputs);
    lossSum += outputs.scalar('lossSum');
    tokens += outputs.scalar('tokenCount');
  }
  const loss = lossSum / tokens;
  return { loss, ...tally.metrics(loss, tokens), tokens };
}
