import type { InputDeclaration } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import type { Module } from '../nn/index.js';
import type { LossSum } from '../ops/index.js';

/** What a model is trained to do: the inputs of one batch, and a loss that is summed over targets. */
export interface Objective<Model extends Module = Module> {
  readonly name: string;
  /** Tokens of a row. */
  readonly sequenceLength: number;
  /** Inputs of a program for `rows` rows, in the order their arrays are handed over. */
  readonly inputs: (rows: number, vocabSize: number) => readonly InputDeclaration[];
  readonly loss: (model: Model, inputs: Readonly<Record<string, Tensor>>, training: boolean) => LossSum;
}
