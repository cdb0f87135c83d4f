import { CheckpointError } from '../errors.js';
import type { Module } from '../nn/index.js';
import { type Shape, sizeOf } from '../shape/shape.js';
import { type DecoderConfig, type DecoderOptions, decoderConfig, type ModelType } from './config.js';
import { Decoder } from './decoder.js';
import type { ParameterTable } from './parameterTable.js';

/** A tensor of a checkpoint and where its values lie in the parameter arena, in bytes. */
export interface CheckpointTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
  readonly bytes: number;
}

const gpt2Names: readonly [path: RegExp, name: string][] = [
  [/^embedding\.weight$/, 'transformer.wte.weight'],
  [/^positions\.weight$/, 'transformer.wpe.weight'],
  [/^layers\.(\d+)\.attentionNorm\.(weight|bias)$/, 'transformer.h.$1.ln_1.$2'],
  [/^layers\.(\d+)\.attention\.qkv\.(weight|bias)$/, 'transformer.h.$1.attn.c_attn.$2'],
  [/^layers\.(\d+)\.attention\.output\.(weight|bias)$/, 'transformer.h.$1.attn.c_proj.$2'],
  [/^layers\.(\d+)\.feedForwardNorm\.(weight|bias)$/, 'transformer.h.$1.ln_2.$2'],
  [/^layers\.(\d+)\.feedForward\.up\.(weight|bias)$/, 'transformer.h.$1.mlp.c_fc.$2'],
  [/^layers\.(\d+)\.feedForward\.down\.(weight|bias)$/, 'transformer.h.$1.mlp.c_proj.$2'],
  [/^norm\.(weight|bias)$/, 'transformer.ln_f.$1'],
  [/^head\.weight$/, 'lm_head.weight'],
];

/** `parts` names the row blocks of a packed matrix. */
const llamaNames: readonly [path: RegExp, name: string, parts?: 'qkv' | 'gate'][] = [
  [/^embedding\.weight$/, 'model.embed_tokens.weight'],
  [/^positions\.weight$/, 'model.embed_positions.weight'],
  [/^layers\.(\d+)\.attentionNorm\.(weight|bias)$/, 'model.layers.$1.input_layernorm.$2'],
  [/^layers\.(\d+)\.attention\.qkv\.(weight|bias)$/, 'model.layers.$1.self_attn.{}_proj.$2', 'qkv'],
  [/^layers\.(\d+)\.attention\.output\.(weight|bias)$/, 'model.layers.$1.self_attn.o_proj.$2'],
  [/^layers\.(\d+)\.feedForwardNorm\.(weight|bias)$/, 'model.layers.$1.post_attention_layernorm.$2'],
  [/^layers\.(\d+)\.feedForward\.up\.(weight|bias)$/, 'model.layers.$1.mlp.{}_proj.$2', 'gate'],
  [/^layers\.(\d+)\.feedForward\.down\.(weight|bias)$/, 'model.layers.$1.mlp.down_proj.$2'],
  [/^norm\.(weight|bias)$/, 'model.norm.$1'],
  [/^head\.weight$/, 'lm_head.weight'],
];

const families: Readonly<Record<ModelType, typeof llamaNames>> = { gpt2: gpt2Names, llama: llamaNames };

/** Row blocks [name, rows] of a packed projection. */
function partsOf(kind: 'qkv' | 'gate', config: DecoderConfig): [string, number][] {
  const { numAttentionHeads, numKeyValueHeads, headDim, intermediateSize, hiddenAct } = config;
  if (kind === 'qkv') {
    const keys = numKeyValueHeads * headDim;
    return [
      ['q', numAttentionHeads * headDim],
      ['k', keys],
      ['v', keys],
    ];
  }
  const up: [string, number] = ['up', intermediateSize];
  return hiddenAct === 'swiglu' ? [['gate', intermediateSize], up] : [up];
}

/** A model's tensors by the names its family has in Hugging Face's checkpoints; a user's own module keeps its paths. */
export function checkpointTensors(model: Module, table: ParameterTable): CheckpointTensor[] {
  const config = model instanceof Decoder ? model.config : undefined;
  return table.entries.flatMap(({ name, slot }) => {
    const bytes = 4 * sizeOf(slot.shape);
    const found = config && families[config.modelType].find(([path]) => path.test(name));
    if (!config || !found) return [{ name, shape: slot.shape, offset: slot.offset, bytes }];
    const [path, template, parts] = found;
    const familyName = name.replace(path, template);
    if (!parts) return [{ name: familyName, shape: slot.shape, offset: slot.offset, bytes }];
    const [rows, ...rest] = slot.shape;
    let row = 0;
    return partsOf(parts, config).map(([part, partRows]) => {
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

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

const architectures: Readonly<Record<ModelType, string>> = {
  gpt2: 'GPT2LMHeadModel',
  llama: 'LlamaForCausalLM',
};

/** config.json of a model: the config's names in snake case. */
export function toConfigJson(config: DecoderConfig): Record<string, unknown> {
  const entries = Object.entries(config).map(([name, value]) => [snake(name), value]);
  return { architectures: [architectures[config.modelType]], ...Object.fromEntries(entries) };
}

/** Older names that published GPT-2 and Llama configs use, and what they mean here. */
const aliases: Readonly<Record<string, keyof DecoderConfig>> = {
  nEmbd: 'hiddenSize',
  nLayer: 'numHiddenLayers',
  nHead: 'numAttentionHeads',
  nPositions: 'maxPositionEmbeddings',
  nInner: 'intermediateSize',
  activationFunction: 'hiddenAct',
  layerNormEpsilon: 'layerNormEps',
  rmsNormEps: 'layerNormEps',
};

/** Reads a config.json of this or of Hugging Face's making. Anything that is no decoder's config is a CheckpointError. */
export function fromConfigJson(value: unknown): DecoderConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CheckpointError('config.json must hold an object');
  }
  const given: Record<string, unknown> = {};
  for (const [key, entry] of Object.entries(value)) {
    const name = camel(key);
    given[aliases[name] ?? name] = entry;
  }
  if (given.modelType !== 'gpt2' && given.modelType !== 'llama') {
    throw new CheckpointError(
      `config.json: model_type is ${JSON.stringify(given.modelType)}, but gpt2 or llama is expected`,
    );
  }
  if (given.modelType === 'llama' && given.hiddenAct === 'silu') given.hiddenAct = 'swiglu';
  return decoderConfig(given as unknown as DecoderOptions);
}
