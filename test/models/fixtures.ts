import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '#src/checkpoint/safetensors.js';
import type { NumberArray } from '../reference/array.js';

/** The folder of the sources' fixtures, from the compiled tests. */
const folder = fileURLToPath(new URL('../../../test/fixtures/', import.meta.url));

export interface Fixture {
  readonly description: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, NumberArray>;
}

/** All tensors of a fixture (test/fixtures/README.md), and its JSON. */
export async function readFixture(name: string): Promise<Fixture> {
  const description = JSON.parse(readFileSync(`${folder}${name}.json`, 'utf8'));
  const file = await openSafetensors(`${folder}${name}.safetensors`);
  try {
    const tensors = new Map<string, NumberArray>();
    for (const [key, { dtype, shape }] of file.tensors) {
      const { buffer } = await file.read(key);
      const data =
        dtype === 'I32'
          ? new Int32Array(buffer)
          : Float64Array.from(dtype === 'F64' ? new Float64Array(buffer) : new Float32Array(buffer));
      tensors.set(key, { shape, data });
    }
    return { description, tensors };
  } finally {
    await file.close();
  }
}
