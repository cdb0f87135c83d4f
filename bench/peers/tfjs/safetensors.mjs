import { readFileSync } from 'node:fs';

/** The float32 and int32 tensors of a safetensors file: name -> { shape, values }. */
export function readTensors(path) {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerBytes).toString());
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [begin, end] = data_offsets.map((offset) => 8 + headerBytes + offset);
    const bytes = new Uint8Array(file.subarray(begin, end)).buffer; // a copy, so that it is aligned
    tensors[name] = { shape, values: dtype === 'I32' ? new Int32Array(bytes) : new Float32Array(bytes) };
  }
  return tensors;
}
