import { openSafetensors } from '../checkpoint/safetensors.js';
import { CheckpointError } from '../errors.js';
import type { CheckpointTensor } from './checkpointTensors.js';

/** What a tensor of a file is wanted for. `offset` counts bytes of an arena. */
export type WantedTensor = Pick<CheckpointTensor, 'name' | 'shape' | 'offset'>;

/**
 * Hands over the values of the wanted tensors of a safetensors file, or of a folder's weights, one at a time. A tensor that is not there, or has another
 * shape, goes to `onMissing` where that is given, as for the new head of a model that is fine-tuned. Throws CheckpointError.
 */
export async function readTensors(
  path: string,
  wanted: readonly WantedTensor[],
  put: (offset: number, values: ArrayBufferView) => Promise<void>,
  onMissing?: (name: string) => void,
): Promise<void> {
  const file = await openSafetensors(path);
  try {
    for (const { name, shape, offset } of wanted) {
      const info = file.tensors.get(name);
      if (onMissing && String(info?.shape) !== String(shape)) {
        onMissing(name);
        continue;
      }
      if (!info)
        throw new CheckpointError(`${path} has no tensor ${name}; it belongs to another model`, { name });
      if (String(info.shape) !== String(shape)) {
        throw new CheckpointError(
          `${path}: ${name} has shape [${info.shape}] but the model's is [${shape}]; use the settings it was trained with`,
          { name, shape: info.shape, expected: shape },
        );
      }
      await put(offset, info.dtype === 'I32' ? await file.read(name) : await file.readFloat32(name));
    }
  } finally {
    await file.close();
  }
}
