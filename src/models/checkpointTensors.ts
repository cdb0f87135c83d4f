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
  /** Path of the parameter that it is, or whose rows it has. */
  readonly parameter: string;
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

/** The tensors that a parameter's rows are cut into, with their rows; a parameter that is not packed is one, with all of them. */
function blocksOf(family: ReturnType<typeof familyOf>, path: string): [name: string, rows?: number][] {
  const found = family?.names.find((pattern) => pattern.path.test(path));
  if (!family || !found) return [[path]];
  const name = path.replace(found.path, found.name);
  if (!found.parts) return [[name]];
  return partsOf(found.parts, family.config).map(([part, rows]) => [name.replace('{}', part), rows]);
}

/**
 * A model's tensors by the names its family has in Hugging Face's checkpoints; a user's own module keeps its paths. Adapters have the
 * names of PEFT: of a packed matrix each part's rows of `up` are a tensor of their own, and `down` is each part's.
 */
export function checkpointTensors(model: Module, table: ParameterTable): CheckpointTensor[] {
  const family = familyOf(model);
  return table.entries.flatMap(({ name: parameter, slot }) => {
    const [, layer, side] = /^(.*)\.adapter\.(down|up)$/.exec(parameter) ?? [];
    const ending = side && (side === 'down' ? 'lora_A.weight' : 'lora_B.weight');
    const [rows, ...rest] = slot.shape;
    const rowBytes = (4 * sizeOf(slot.shape)) / rows;
    let row = 0;
    return blocksOf(family, side ? `${layer}.weight` : parameter).map(([familyName, ownRows = rows]) => {
      const name = ending ? familyName.replace(/weight$/, ending) : familyName;
      const isWhole = side === 'down' || ownRows === rows;
      // Hugging Face keeps this bias as a row.
      const shape = name === 'final_logits_bias' ? [1, ...slot.shape] : [isWhole ? rows : ownRows, ...rest];
      const offset = slot.offset + (isWhole ? 0 : rowBytes * row);
      row += ownRows;
      return { name, parameter, shape, offset, bytes: isWhole ? rowBytes * rows : rowBytes * ownRows };
    });
  });
}
