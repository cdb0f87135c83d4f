import test from 'ava';
import { CheckpointError, DataError } from '#src/errors.js';
import { lengthsOfAttentionMask } from '#src/models/attentionMask.js';
import { checkpointTensors } from '#src/models/checkpointTensors.js';
import {
  type ConfiguredModel,
  fromConfigJson,
  modelFromConfigJson,
  toConfigJson,
} from '#src/models/huggingFace.js';
import { parameterTable } from '#src/models/parameterTable.js';

const namesOf = (model: ConfiguredModel) =>
  checkpointTensors(model, parameterTable(model)).map(({ name, shape }) => `${name} ${shape.join('x')}`);

/** weight and bias of each [name, out, in]; without `in` a norm. */
const pairs = (list: readonly (readonly [name: string, out: number, inner?: number])[]) =>
  list.flatMap(([name, out, inner]) => [
    `${name}.weight ${inner ? `${out}x${inner}` : out}`,
    `${name}.bias ${out}`,
  ]);

// Published config.json files, cut to the fields that shape the model, and the tensors that transformers' classes of
// that name list in their state dict (modeling_bert.py, modeling_bart.py, modeling_marian.py of transformers 4.57).
const bert = {
  architectures: ['BertForMaskedLM'],
  model_type: 'bert',
  attention_probs_dropout_prob: 0.1,
  hidden_act: 'gelu',
  hidden_dropout_prob: 0.1,
  hidden_size: 8,
  initializer_range: 0.02,
  intermediate_size: 16,
  layer_norm_eps: 1e-12,
  max_position_embeddings: 12,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  position_embedding_type: 'absolute',
  type_vocab_size: 2,
  vocab_size: 10,
};
const bertBody = [
  'embeddings.word_embeddings.weight 10x8',
  'embeddings.position_embeddings.weight 12x8',
  'embeddings.token_type_embeddings.weight 2x8',
  ...pairs([
    ['embeddings.LayerNorm', 8],
    ['encoder.layer.0.attention.self.query', 8, 8],
    ['encoder.layer.0.attention.self.key', 8, 8],
    ['encoder.layer.0.attention.self.value', 8, 8],
    ['encoder.layer.0.attention.output.dense', 8, 8],
    ['encoder.layer.0.attention.output.LayerNorm', 8],
    ['encoder.layer.0.intermediate.dense', 16, 8],
    ['encoder.layer.0.output.dense', 8, 16],
    ['encoder.layer.0.output.LayerNorm', 8],
  ]),
];
const bart = {
  architectures: ['BartForConditionalGeneration'],
  model_type: 'bart',
  activation_function: 'gelu',
  attention_dropout: 0.1,
  d_model: 8,
  decoder_attention_heads: 2,
  decoder_ffn_dim: 16,
  decoder_layers: 1,
  dropout: 0.2,
  encoder_attention_heads: 2,
  encoder_ffn_dim: 16,
  encoder_layers: 1,
  init_std: 0.03,
  is_encoder_decoder: true,
  max_position_embeddings: 12,
  scale_embedding: false,
  vocab_size: 10,
};
const translationLayer = (side: string, parts: readonly string[]) =>
  pairs([
    ...parts.flatMap((part) => [
      ...['k_proj', 'v_proj', 'q_proj', 'out_proj'].map(
        (projection) => [`model.${side}.layers.0.${part}.${projection}`, 8, 8] as const,
      ),
      [`model.${side}.layers.0.${part}_layer_norm`, 8] as const,
    ]),
    [`model.${side}.layers.0.fc1`, 16, 8],
    [`model.${side}.layers.0.fc2`, 8, 16],
    [`model.${side}.layers.0.final_layer_norm`, 8],
  ]);
const translation = [
  'final_logits_bias 1x10',
  'model.shared.weight 10x8',
  ...translationLayer('encoder', ['self_attn']),
  ...translationLayer('decoder', ['self_attn', 'encoder_attn']),
];
const marian = {
  ...bart,
  architectures: ['MarianMTModel'],
  model_type: 'marian',
  activation_function: 'swish',
  scale_embedding: true,
  decoder_vocab_size: 10,
  share_encoder_decoder_embeddings: true,
};

const families: Readonly<Record<string, { json: object; tensors: readonly string[] }>> = {
  BertModel: {
    json: { ...bert, architectures: ['BertModel'] },
    tensors: [...bertBody, ...pairs([['pooler.dense', 8, 8]])],
  },
  BertForMaskedLM: {
    json: bert,
    tensors: [
      ...bertBody.map((name) => `bert.${name}`),
      'cls.predictions.bias 10',
      ...pairs([
        ['cls.predictions.transform.dense', 8, 8],
        ['cls.predictions.transform.LayerNorm', 8],
      ]),
    ],
  },
  BertForSequenceClassification: {
    json: { ...bert, architectures: ['BertForSequenceClassification'], id2label: { 0: 'a', 1: 'b', 2: 'c' } },
    tensors: [
      ...[...bertBody, ...pairs([['pooler.dense', 8, 8]])].map((name) => `bert.${name}`),
      ...pairs([['classifier', 3, 8]]),
    ],
  },
  BartForConditionalGeneration: {
    json: bart,
    tensors: [
      ...translation,
      'model.encoder.embed_positions.weight 14x8',
      'model.decoder.embed_positions.weight 14x8',
      ...pairs([
        ['model.encoder.layernorm_embedding', 8],
        ['model.decoder.layernorm_embedding', 8],
      ]),
    ],
  },
  MarianMTModel: { json: marian, tensors: translation },
};

for (const [name, { json, tensors }] of Object.entries(families)) {
  test(`${name}: tensors are those of transformers`, (t) => {
    t.deepEqual(namesOf(modelFromConfigJson(json)).sort(), [...tensors].sort());
  });
}

const gpt2 = {
  model_type: 'gpt2',
  n_embd: 8,
  n_layer: 1,
  n_head: 2,
  n_positions: 12,
  vocab_size: 10,
  resid_pdrop: 0.3,
};
const llama = {
  model_type: 'llama',
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 12,
  max_position_embeddings: 12,
  vocab_size: 10,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
};
const classifier = {
  ...gpt2,
  architectures: ['GPT2ForSequenceClassification'],
  num_labels: 4,
  pooling: 'mean',
};
const mlp = { model_type: 'mlp', input_size: 3, hidden_sizes: [4, 5], num_labels: 2, hidden_act: 'tanh' };
const all = [...Object.values(families).map(({ json }) => json), gpt2, llama, classifier, mlp];

for (const [index, json] of all.entries()) {
  test(`config ${index}: what is written is what was read`, (t) => {
    const model = modelFromConfigJson(json);
    const written = JSON.parse(JSON.stringify(toConfigJson(model)));
    const again = modelFromConfigJson(written);
    t.deepEqual(again.config, model.config);
    t.is(again.constructor, model.constructor);
    t.deepEqual(namesOf(again), namesOf(model));
  });
}

test("a family's own names are written too", (t) => {
  const written = (json: object) => toConfigJson(modelFromConfigJson(json));
  t.like(written(bart), { d_model: 8, encoder_layers: 1, decoder_ffn_dim: 16, dropout: 0.2, init_std: 0.03 });
  t.like(written(bert), { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1, type_vocab_size: 2 });
  t.like(written(llama), { hidden_act: 'silu', rms_norm_eps: 1e-5, num_key_value_heads: 1 });
  t.like(written(gpt2), { activation_function: 'gelu_new', layer_norm_epsilon: 1e-5, resid_pdrop: 0.3 });
  t.is(written(marian).activation_function, 'silu');
});

test('what models here cannot be is refused by name', (t) => {
  const refused: [object | null, RegExp][] = [
    [null, /must hold an object/],
    [{ model_type: 't5' }, /model_type is "t5"/],
    [{ ...llama, rope_scaling: { type: 'linear' } }, /rope_scaling/],
    [{ ...bert, position_embedding_type: 'relative_key' }, /position_embedding_type/],
    [{ ...bart, decoder_attention_heads: 4 }, /decoder_attention_heads is 4 but the encoder has 2/],
  ];
  for (const [json, message] of refused) {
    t.throws(() => fromConfigJson(json), { instanceOf: CheckpointError, message });
  }
});

test('an attention mask becomes lengths, or is refused', (t) => {
  t.deepEqual([...lengthsOfAttentionMask([1, 1, 0, 1, 1, 1, 0, 0, 0], 3)], [2, 3, 0]);
  const refusal = { instanceOf: DataError, message: /row 1 has 1 at 1.*pad on the right/ };
  t.throws(() => lengthsOfAttentionMask([1, 1, 0, 0, 1, 1], 3), refusal);
  t.throws(() => lengthsOfAttentionMask([1, 2, 0], 3), { instanceOf: DataError, message: /row 0 has 2/ });
  t.throws(() => lengthsOfAttentionMask([1, 1], 3), { instanceOf: DataError });
});
