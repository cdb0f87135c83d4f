import { constant, Module, Parameter, uniform } from '../nn/index.js';

export interface WordVectorsConfig {
  /** Number of words. */
  vocabSize: number;
  /** Elements of a vector. */
  hiddenSize: number;
}

/**
 * Two vectors for each word: as a centre, which is what is kept of a run, and as a context of others (Mikolov et al. 2013).
 * Centres start uniformly within 0.5 / hiddenSize, contexts at 0.
 */
export class WordVectors extends Module {
  readonly config: WordVectorsConfig;
  readonly centres: Parameter;
  readonly contexts: Parameter;

  constructor({ vocabSize, hiddenSize }: WordVectorsConfig) {
    super();
    this.config = { vocabSize, hiddenSize };
    this.centres = new Parameter([vocabSize, hiddenSize], uniform(0.5 / hiddenSize));
    this.contexts = new Parameter([vocabSize, hiddenSize], constant(0));
  }
}
