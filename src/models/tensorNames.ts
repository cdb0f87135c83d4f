// Hugging Face's names for what models are made of: the path of a parameter here, and the tensor there.
import type { DecoderType, EncoderType } from './config.js';

/** `parts` names the row blocks of a packed matrix; each fills the place {} of the name. */
export interface NamePattern {
  readonly path: RegExp;
  readonly name: string;
  readonly parts?: PackedPart;
}
/** What a packed matrix holds: queries, keys and values; keys and values; a gate and the projection it gates. */
export type PackedPart = 'qkv' | 'kv' | 'gate';

type Row = readonly [path: string, name: string, parts?: PackedPart];

/** In a row `#` stands for the number of a layer and `*` for weight or bias. */
const patterns = (rows: readonly Row[]): NamePattern[] =>
  rows.map(([path, name, parts]) => {
    const groups: readonly string[] = path.match(/[#*]/g) ?? [];
    const place = (letter: string) => `$${groups.indexOf(letter) + 1}`;
    const expression = path.replaceAll('.', '\\.').replace('#', '(\\d+)').replace('*', '(weight|bias)');
    return {
      path: new RegExp(`^${expression}$`),
      name: name.replace('#', place('#')).replace('*', place('*')),
      parts,
    };
  });

const gpt2 = patterns([
  ['embedding.weight', 'transformer.wte.weight'],
  ['positions.weight', 'transformer.wpe.weight'],
  ['layers.#.attentionNorm.*', 'transformer.h.#.ln_1.*'],
  ['layers.#.attention.qkv.*', 'transformer.h.#.attn.c_attn.*'],
  ['layers.#.attention.output.*', 'transformer.h.#.attn.c_proj.*'],
  ['layers.#.feedForwardNorm.*', 'transformer.h.#.ln_2.*'],
  ['layers.#.feedForward.up.*', 'transformer.h.#.mlp.c_fc.*'],
  ['layers.#.feedForward.down.*', 'transformer.h.#.mlp.c_proj.*'],
  ['norm.*', 'transformer.ln_f.*'],
  ['head.weight', 'lm_head.weight'],
]);

const llama = patterns([
  ['embedding.weight', 'model.embed_tokens.weight'],
  ['positions.weight', 'model.embed_positions.weight'],
  ['layers.#.attentionNorm.*', 'model.layers.#.input_layernorm.*'],
  ['layers.#.attention.qkv.*', 'model.layers.#.self_attn.{}_proj.*', 'qkv'],
  ['layers.#.attention.output.*', 'model.layers.#.self_attn.o_proj.*'],
  ['layers.#.feedForwardNorm.*', 'model.layers.#.post_attention_layernorm.*'],
  ['layers.#.feedForward.up.*', 'model.layers.#.mlp.{}_proj.*', 'gate'],
  ['layers.#.feedForward.down.*', 'model.layers.#.mlp.down_proj.*'],
  ['norm.*', 'model.norm.*'],
  ['head.weight', 'lm_head.weight'],
]);

/** BertModel's own names; models around it put `bert.` before them. */
const bert = patterns([
  ['embedding.weight', 'embeddings.word_embeddings.weight'],
  ['positions.weight', 'embeddings.position_embeddings.weight'],
  ['tokenTypes.weight', 'embeddings.token_type_embeddings.weight'],
  ['embeddingNorm.*', 'embeddings.LayerNorm.*'],
  ['layers.#.attention.qkv.*', 'encoder.layer.#.attention.self.{}.*', 'qkv'],
  ['layers.#.attention.output.*', 'encoder.layer.#.attention.output.dense.*'],
  ['layers.#.attentionNorm.*', 'encoder.layer.#.attention.output.LayerNorm.*'],
  ['layers.#.feedForward.up.*', 'encoder.layer.#.intermediate.dense.*'],
  ['layers.#.feedForward.down.*', 'encoder.layer.#.output.dense.*'],
  ['layers.#.feedForwardNorm.*', 'encoder.layer.#.output.LayerNorm.*'],
  ['norm.*', 'encoder.LayerNorm.*'],
  ['pooler.*', 'pooler.dense.*'],
]);

const maskedHead = patterns([
  ['transform.*', 'cls.predictions.transform.dense.*'],
  ['transformNorm.*', 'cls.predictions.transform.LayerNorm.*'],
  ['head.weight', 'cls.predictions.decoder.weight'],
  ['bias', 'cls.predictions.bias'],
]);

/** BartForConditionalGeneration and MarianMTModel. */
const encoderDecoder = patterns([
  ...['encoder', 'decoder'].flatMap((side): Row[] => [
    [`${side}.positions.weight`, `model.${side}.embed_positions.weight`],
    [`${side}.embeddingNorm.*`, `model.${side}.layernorm_embedding.*`],
    [`${side}.layers.#.attention.qkv.*`, `model.${side}.layers.#.self_attn.{}_proj.*`, 'qkv'],
    [`${side}.layers.#.attention.output.*`, `model.${side}.layers.#.self_attn.out_proj.*`],
    [`${side}.layers.#.attentionNorm.*`, `model.${side}.layers.#.self_attn_layer_norm.*`],
    [`${side}.layers.#.crossAttention.query.*`, `model.${side}.layers.#.encoder_attn.q_proj.*`],
    [`${side}.layers.#.crossAttention.keyValue.*`, `model.${side}.layers.#.encoder_attn.{}_proj.*`, 'kv'],
    [`${side}.layers.#.crossAttention.output.*`, `model.${side}.layers.#.encoder_attn.out_proj.*`],
    [`${side}.layers.#.crossAttentionNorm.*`, `model.${side}.layers.#.encoder_attn_layer_norm.*`],
    [`${side}.layers.#.feedForward.up.*`, `model.${side}.layers.#.fc1.*`],
    [`${side}.layers.#.feedForward.down.*`, `model.${side}.layers.#.fc2.*`],
    [`${side}.layers.#.feedForwardNorm.*`, `model.${side}.layers.#.final_layer_norm.*`],
    [`${side}.norm.*`, `model.${side}.layer_norm.*`],
  ]),
  ['decoderEmbedding.weight', 'model.decoder.embed_tokens.weight'],
  ['head.weight', 'lm_head.weight'],
  ['finalLogitsBias', 'final_logits_bias'],
]);
const sharedTable = patterns([['embedding.weight', 'model.shared.weight']]);
const sourceTable = patterns([['embedding.weight', 'model.encoder.embed_tokens.weight']]);

type StackType = DecoderType | EncoderType;
const families: Readonly<Record<StackType, readonly NamePattern[]>> = { gpt2, llama, bert };

/** Puts a prefix before the paths of a body, and before the names. */
const within = (names: readonly NamePattern[], path: string, prefix: string): NamePattern[] =>
  names.map((pattern) => ({
    ...pattern,
    path: new RegExp(pattern.path.source.replace('^', `^${path}\\.`)),
    name: prefix + pattern.name,
  }));

/** The names of a decoder or an encoder that stands alone. */
export const stackNames = (modelType: StackType): readonly NamePattern[] => families[modelType];

/** BertForMaskedLM: an encoder and the head over it. */
export const maskedLanguageModelNames = (): readonly NamePattern[] => [
  ...within(bert, 'encoder', 'bert.'),
  ...maskedHead,
];

/** The families' models for sequence classification. */
export const classifierNames = (modelType: StackType): readonly NamePattern[] => [
  ...within(families[modelType], 'body', modelType === 'bert' ? 'bert.' : ''),
  ...patterns([['head.*', modelType === 'bert' ? 'classifier.*' : 'score.*']]),
];

export const encoderDecoderNames = (sharesTable: boolean): readonly NamePattern[] => [
  ...encoderDecoder,
  ...(sharesTable ? sharedTable : sourceTable),
];
