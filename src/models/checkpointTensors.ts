import type { Module } from '../nn/index.js';
import { type Shape, sizeOf } from '../shape/shape.js';
import { Classifier } from './classifier.js';
import type { TransformerConfig } from './config.js';
import { Decoder } from './decoder.js';
import { Encoder, MaskedLanguageModel } from './encoder.js';
import { EncoderDecoder } from './encoderDecoder.js';
import type { ParameterTable } from './parameterTable.js';
import {
  classifierNames,
  encoderDecoderNames,
  maskedLanguageModelNames,
  type NamePattern,
  type PackedPart,
  stackNames,
} from './tensorNames.js';

/** A tensor of a checkpoint and where its values lie in the parameter arena, in bytes. */
export interface CheckpointTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
  readonly bytes: number;
}

/** The names of a model's family, and the config that says how its packed matrices are cut. */
function familyOf(model: Module): { names: readonly NamePattern[]; config: TransformerConfig } | undefined {
  if (model instanceof Decoder || model instanceof Encoder) {
    return { names: stackNames(model.config.modelType), config: model.config };
  }
  if (model instanceof MaskedLanguageModel)
    return { names: maskedLanguageModelNames(), config: model.config };
  if (model instanceof EncoderDecoder) {
    return { names: encoderDecoderNames(model.config.shareEncoderDecoderEmbeddings), config: model.config };
  }
  if (model instanceof Classifier) {
    const { body } = model.config;
    return { names: classifierNames(body.modelType), config: body };
  }
  return undefined;
}

/** Row blocks [name, rows] of a packed projection. */
function partsOf(kind: PackedPart, config: TransformerConfig): [string, number][] {
  const { numAttentionHeads, numKeyValueHeads, headDim, intermediateSize, hiddenAct, modelType } = config;
  if (kind === 'gate') {
    const up: [string, number] = ['up', intermediateSize];
    return hiddenAct === 'swiglu' ? [['gate', intermediateSize], up] : [up];
  }
  const [query, key, value] = modelType === 'bert' ? ['query', 'key', 'value'] : ['q', 'k', 'v'];
  const rows = numKeyValueHeads * headDim;
  const keyValue: [string, number][] = [
    [key, rows],
    [value, rows],
  ];
  return kind === 'kv' ? keyValue : [[query, numAttentionHeads * headDim], ...keyValue];
}

/** A model's tensors by the names its family has in Hugging Face's checkpoints; a user's own module keeps its paths. */
export function checkpointTensors(model: Module, table: ParameterTable): CheckpointTensor[] {
  const family = familyOf(model);
  return table.entries.flatMap(({ name, slot }) => {
    const bytes = 4 * sizeOf(slot.shape);
    const found = family?.names.find(({ path }) => path.test(name));
    if (!family || !found) return [{ name, shape: slot.shape, offset: slot.offset, bytes }];
    const familyName = name.replace(found.path, found.name);
    if (!found.parts) {
      // Hugging Face keeps this bias as a row.
      const shape = familyName === 'final_logits_bias' ? [1, ...slot.shape] : slot.shape;
      return [{ name: familyName, shape, offset: slot.offset, bytes }];
    }
    const [rows, ...rest] = slot.shape;
    let row = 0;
    return partsOf(found.parts, family.config).map(([part, partRows]) => {
      const offset = slot.offset + (bytes / rows) * row;
      row += partRows;
      return {
        name: familyName.replace('{}', part),
        shape: [partRows, ...rest],
        offset,
        bytes: (bytes / rows) * partRows,
      };
    });
  });
}
