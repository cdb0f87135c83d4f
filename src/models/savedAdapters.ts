// Adapters apart from the model they correct: adapter_config.json and adapter_model.safetensors, as Hugging Face's PEFT names them
// (https://huggingface.co/docs/peft/developer_guides/checkpoint).
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { adapterConfigName } from '../checkpoint/checkpoint.js';
import { openSafetensors } from '../checkpoint/safetensors.js';
import { CheckpointError } from '../errors.js';
import type { AdapterOptions, Module } from '../nn/index.js';
import { adaptedLayers, adapterOptions, addAdapters, denseLayers, isAdapter } from './adapters.js';
import { type CheckpointTensor, checkpointTensors } from './checkpointTensors.js';
import { Classifier } from './classifier.js';
import { Decoder } from './decoder.js';
import { EncoderDecoder } from './encoderDecoder.js';
import { parameterTable } from './parameterTable.js';
import { readTensors } from './weights.js';

export const adapterWeightsName = 'adapter_model.safetensors';

/** PEFT keeps the version of the base in `revision`: of ours the digest of its weights, of others a commit or nothing. */
const digestMark = 'sha256:';

/** What PEFT puts before the names of the model within. */
const prefix = 'base_model.model.';

/** The model that adapters were trained for. */
export interface BaseModel {
  /** Its folder. */
  readonly path: string;
  /** Of its weights (`weightsDigest`); unknown for adapters made elsewhere. */
  readonly sha256?: string;
}

/** A tensor under its name in the adapters' file. */
export const inAdapterFile = (tensor: CheckpointTensor): CheckpointTensor => ({
  ...tensor,
  name: prefix + tensor.name,
});

const taskOf = (model: Module): string | null => {
  if (model instanceof Decoder) return 'CAUSAL_LM';
  if (model instanceof EncoderDecoder) return 'SEQ_2_SEQ_LM';
  return model instanceof Classifier ? 'SEQ_CLS' : null;
};

const distinct = (names: readonly string[]): string[] => [...new Set(names)].sort();

/** adapter_config.json of a model; `saved` are the tensors that are kept with the adapters, by their names in the model. */
export function toAdapterConfigJson(
  model: Module,
  saved: readonly CheckpointTensor[],
  { path, sha256 }: BaseModel,
): Record<string, unknown> {
  const options = adapterOptions(model);
  const [adapters, others] = [true, false].map((side) =>
    saved.filter(({ parameter }) => isAdapter(parameter) === side).map(({ name }) => name),
  );
  return {
    peft_type: 'LORA',
    task_type: taskOf(model),
    base_model_name_or_path: path,
    revision: sha256 && `${digestMark}${sha256}`,
    r: options?.rank,
    lora_alpha: options?.alpha,
    lora_dropout: options?.dropout,
    target_modules: distinct(adapters.map((name) => name.replace(/\.lora_[AB]\.weight$/, ''))),
    modules_to_save: others.length ? distinct(others.map((name) => name.replace(/\.[^.]+$/, ''))) : null,
    fan_in_fan_out: [...adaptedLayers(model).values()].some(({ inputMajor }) => inputMajor),
    bias: 'none',
    inference_mode: true,
  };
}

const empty = v.nullish(v.strictObject({}, 'must be empty'));
const configSchema = v.object({
  peft_type: v.literal('LORA'),
  base_model_name_or_path: v.nullish(v.string()),
  revision: v.nullish(v.string()),
  r: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  lora_alpha: v.pipe(v.number(), v.gtValue(0)),
  lora_dropout: v.optional(v.pipe(v.number(), v.minValue(0), v.ltValue(1)), 0),
  bias: v.optional(v.literal('none'), 'none'),
  use_rslora: v.optional(v.literal(false)),
  use_dora: v.optional(v.literal(false)),
  rank_pattern: empty,
  alpha_pattern: empty,
});

export interface AdapterConfig {
  readonly options: Required<AdapterOptions>;
  readonly base: BaseModel;
}

/** Reads an adapter_config.json, of this or of PEFT's making. Throws CheckpointError for what adapters here cannot be. */
export function fromAdapterConfigJson(value: unknown): AdapterConfig {
  const result = v.safeParse(configSchema, value);
  if (!result.success) {
    const [issue] = result.issues;
    throw new CheckpointError(
      `${adapterConfigName}: ${v.getDotPath(issue) ?? 'the file'} is not supported: ${issue.message.slice(0, 120)}`,
    );
  }
  const { r: rank, lora_alpha: alpha, lora_dropout: dropout, ...rest } = result.output;
  const { base_model_name_or_path: path, revision } = rest;
  const sha256 = revision?.startsWith(digestMark) ? revision.slice(digestMark.length) : undefined;
  return { options: { rank, alpha, dropout }, base: { path: path ?? '', sha256 } };
}

/**
 * Puts adapters beside the layers of a model for which a folder holds some, and returns the names of the tensors that belong to them,
 * others that were trained with them included. Throws CheckpointError where they are another model's.
 */
export async function adaptAsSaved(
  model: Module,
  folder: string,
  options: Required<AdapterOptions>,
): Promise<ReadonlySet<string>> {
  const path = `${folder}/${adapterWeightsName}`;
  const file = await openSafetensors(path);
  await file.close();
  addAdapters(model, { ...options, targets: [...denseLayers(model).keys()] });
  const all = checkpointTensors(model, parameterTable(model));
  const inFile = (tensor: CheckpointTensor) => file.tensors.has(inAdapterFile(tensor).name);
  const wanted = new Set(all.filter((tensor) => isAdapter(tensor.parameter) && inFile(tensor)).map(layerOf));
  for (const [layer, linear] of denseLayers(model)) if (!wanted.has(layer)) linear.adapter = undefined;
  const missing = all.find((tensor) => wanted.has(layerOf(tensor)) && !inFile(tensor));
  if (missing) {
    throw new CheckpointError(
      `${path} has no tensor ${inAdapterFile(missing).name}, although it adapts other parts of ${layerOf(missing)}, which is one matrix here`,
    );
  }
  const own = all.filter(inFile);
  const known = new Set(own.map((tensor) => inAdapterFile(tensor).name));
  const foreign = file.names.find((name) => !known.has(name));
  if (foreign !== undefined || wanted.size === 0) {
    const what = foreign === undefined ? 'holds no adapters' : `holds ${foreign}, which the model has not`;
    throw new CheckpointError(`${path} ${what}; it belongs to another model`);
  }
  return new Set(own.map(({ name }) => name));
}

/** The layer that an adapter's tensor belongs to. */
const layerOf = ({ parameter }: CheckpointTensor): string => parameter.replace(/\.adapter\.(down|up)$/, '');

/** Hands over the values of tensors in a folder's file of adapters. Throws CheckpointError. */
export async function readAdapterTensors(
  folder: string,
  tensors: readonly CheckpointTensor[],
  put: (offset: number, values: ArrayBufferView) => Promise<void>,
): Promise<void> {
  const path = `${folder}/${adapterWeightsName}`;
  const shared = new Map<number, string>();
  await readTensors(path, tensors.map(inAdapterFile), async (offset, values) => {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if ((shared.get(offset) ?? sha256) !== sha256) {
      throw new CheckpointError(
        `${path}: parts of a matrix that is one here (queries, keys and values; gate and up) have different lora_A; such adapters cannot be read`,
      );
    }
    shared.set(offset, sha256);
    await put(offset, values);
  });
}
