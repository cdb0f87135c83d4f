import type { CheckpointFile } from '../checkpoint/checkpoint.js';
import { adapterConfigName } from '../checkpoint/checkpoint.js';
import { type TensorSource, writeSafetensors } from '../checkpoint/safetensors.js';
import type { Slot } from '../graph/graph.js';
import type { CheckpointTensor } from '../models/checkpointTensors.js';
import { isConfigured, toConfigJson } from '../models/huggingFace.js';
import {
  adapterWeightsName,
  type BaseModel,
  inAdapterFile,
  toAdapterConfigJson,
} from '../models/savedAdapters.js';
import type { Module } from '../nn/index.js';
import type { Session } from '../runtime/session.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** Tensors in an arena of a session, as a file is written from them. */
export const tensorSources = (
  session: Session,
  arena: Slot['arena'],
  tensors: readonly (Pick<CheckpointTensor, 'name' | 'shape' | 'offset'> & Partial<Pick<Slot, 'dtype'>>)[],
): TensorSource[] =>
  tensors.map(({ name, shape, offset, dtype }) => ({
    name,
    shape,
    dtype: dtype === 'i32' ? 'I32' : 'F32',
    source: async (from, target) => {
      await session.read(arena, offset + from, target);
    },
  }));

/** A model whose parameters are in a session, and what belongs to it. */
export interface ModelToSave {
  readonly session: Session;
  readonly model: Module;
  readonly tokenizer?: Tokenizer;
  readonly settings: Readonly<Record<string, unknown>>;
  /** JSON that the objective keeps beside them, by the name of its file. */
  readonly others?: Readonly<Record<string, unknown>>;
  /** The tensors to save. */
  readonly tensors: readonly CheckpointTensor[];
}

/** What opening a model needs: config, tokenizer, settings and weights; with a base, adapters in place of weights. */
export function modelFiles(saved: ModelToSave, base?: BaseModel): CheckpointFile[] {
  const { session, model, tokenizer, settings, others = {}, tensors } = saved;
  const weights = (name: string, named: readonly CheckpointTensor[]): CheckpointFile => ({
    name,
    write: (path) => writeSafetensors(path, tensorSources(session, 'parameters', named), { format: 'pt' }),
  });
  return [
    { name: 'config.json', json: isConfigured(model) ? toConfigJson(model) : {} },
    ...(tokenizer ? [{ name: 'tokenizer.json', json: tokenizer.toJSON() }] : []),
    { name: 'settings.json', json: settings },
    ...Object.entries(others).map(([name, json]) => ({ name, json })),
    ...(base
      ? [
          { name: adapterConfigName, json: toAdapterConfigJson(model, tensors, base) },
          weights(adapterWeightsName, tensors.map(inAdapterFile)),
        ]
      : [weights('model.safetensors', tensors)]),
  ];
}
