import { createHash } from 'node:crypto';
import type { Slot } from '../graph/graph.js';
import type { Module, Parameter } from '../nn/index.js';
import type { Precision } from '../shape/dtype.js';
import { sizeOf } from '../shape/shape.js';

/** Parameters start on blocks of this many elements, each with its own decay and learning-rate factor. */
export const blockElements = 1024;

export type ParameterGroup = 'decayed' | 'undecayed' | 'frozen';

export interface ParameterEntry {
  /** Path in the model. */
  readonly name: string;
  readonly parameter: Parameter;
  readonly group: ParameterGroup;
  readonly slot: Slot;
}

/** Where every parameter of a model lies: decayed ones first, then undecayed, then frozen. */
export interface ParameterTable {
  readonly entries: readonly ParameterEntry[];
  /** Elements of the arena, padding included; gradients and optimizer state cover the first `trainableElements`. */
  readonly elements: number;
  readonly trainableElements: number;
  /** Number of parameters, without padding. */
  readonly count: number;
  /** {weight-decay factor, learning-rate factor} for every block of the trainable part. */
  readonly blocks: Float32Array;
  /** Changes with any name, shape or place. */
  readonly layoutHash: bigint;
}

/** What every program over a model's parameters declares: the masters and, in bf16, their mirror. */
export const parameterArenas = (
  { elements, layoutHash }: Pick<ParameterTable, 'elements' | 'layoutHash'>,
  precision: Precision = 'float32',
) => ({
  parameters: { bytes: 4 * elements, layoutHash },
  ...(precision === 'bf16' ? { parametersBf16: { bytes: 2 * elements, layoutHash } } : {}),
});

const groups: readonly ParameterGroup[] = ['decayed', 'undecayed', 'frozen'];
const groupOf = ({ trainable, decay }: Parameter): ParameterGroup =>
  !trainable ? 'frozen' : decay ? 'decayed' : 'undecayed';

/** Lays out a model's parameters and tells each its place. */
export function parameterTable(model: Module): ParameterTable {
  const named = [...model.namedParameters()];
  const entries: ParameterEntry[] = [];
  let element = 0;
  let trainableElements = 0;
  for (const group of groups) {
    for (const [name, parameter] of named) {
      if (groupOf(parameter) !== group) continue;
      const slot: Slot = {
        arena: 'parameters',
        offset: 4 * element,
        shape: parameter.shape,
        dtype: 'f32',
        name,
      };
      parameter.slot = slot;
      entries.push({ name, parameter, group, slot });
      element += Math.ceil(sizeOf(parameter.shape) / blockElements) * blockElements;
    }
    if (group !== 'frozen') trainableElements = element;
  }
  const blocks = new Float32Array((2 * trainableElements) / blockElements);
  for (const { group, slot, parameter } of entries) {
    if (group === 'frozen') continue;
    const first = slot.offset / 4 / blockElements;
    const last = first + Math.ceil(sizeOf(parameter.shape) / blockElements);
    const entry = [group === 'decayed' ? 1 : 0, parameter.learningRateFactor];
    for (let block = first; block < last; block++) blocks.set(entry, 2 * block);
  }
  const text = entries.map(({ name, slot }) => `${name} ${slot.shape} ${slot.offset}`).join('\n');
  const layoutHash = createHash('sha256').update(text).digest().readBigUInt64LE();
  const count = entries.reduce((sum, { parameter }) => sum + sizeOf(parameter.shape), 0);
  return { entries, elements: element, trainableElements, count, blocks, layoutHash };
}
