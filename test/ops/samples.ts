import type { Sample } from './sample.js';
import { attentionSamples } from './samples/attention.js';
import { beamSamples } from './samples/beam.js';
import { embeddingSamples } from './samples/embedding.js';
import { lossSamples } from './samples/loss.js';
import { matmulSamples } from './samples/matmul.js';
import { normSamples } from './samples/norm.js';
import { optimizerSamples } from './samples/optimizer.js';
import { pointwiseSamples } from './samples/pointwise.js';
import { reduceSamples } from './samples/reduce.js';
import { sampleSamples } from './samples/sample.js';
import { skipGramSamples } from './samples/skipGram.js';
import { viewSamples } from './samples/view.js';

/** Every use of every op that is tested and measured; each takes less than 50 MFLOP. */
export const samples: readonly Sample[] = [
  ...pointwiseSamples,
  ...reduceSamples,
  ...viewSamples,
  ...matmulSamples,
  ...normSamples,
  ...attentionSamples,
  ...embeddingSamples,
  ...lossSamples,
  ...optimizerSamples,
  ...sampleSamples,
  ...beamSamples,
  ...skipGramSamples,
];
