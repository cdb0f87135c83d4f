// Writes samples with their programs, inputs and expected results to a file that test/native/simt/samples.cc reads, for
// machines of the native code that no JavaScript runs on: node writeSamples.js FILE [largest number of flops].
import { writeFileSync } from 'node:fs';
import { encodeScalars } from '#src/ops/index.js';
import { type DType, dtypes } from '#src/shape/dtype.js';
import { samples } from './samples.js';
import { expectedOf, initialArenas, inputBytesOf, prepare, toleranceOf, waysOf } from './trial.js';

const arenaNumbers = { gradients: 2, activations: 4, kvCache: 6, io: 7 } as const;

const pieces: Uint8Array[] = [];
const u32 = (value: number) => pieces.push(new Uint8Array(Uint32Array.of(value).buffer));
const f64 = (values: ArrayLike<number>) => pieces.push(new Uint8Array(Float64Array.from(values).buffer));
const bytes = (value: Uint8Array) => {
  u32(value.byteLength);
  pieces.push(value);
};

const [file, limit = '1e12'] = process.argv.slice(2);
let count = 0;
for (const sample of samples) {
  for (const way of waysOf(sample)) {
    const trial = prepare(sample, way);
    const { program, kept, built } = trial;
    if (program.flops > Number(limit)) continue;
    count++;
    bytes(Buffer.from(`${sample.name} (${way})`));
    f64([program.flops]);
    bytes(program.bytes);
    f64(encodeScalars(sample.scalars ?? {}));
    bytes(inputBytesOf(sample, trial));
    const arenas = Object.entries(initialArenas(sample, trial));
    u32(arenas.length);
    for (const [name, content] of arenas) {
      u32(arenaNumbers[name as keyof typeof arenaNumbers]);
      bytes(content);
    }
    const places = new Map<string, { arena: number; offset: number; dtype: DType }>([
      ...program.outputs.map((field) => [field.name, { arena: arenaNumbers.io, ...field }] as const),
      ...Object.values(kept).map((slot) => [slot.name, { ...slot, arena: arenaNumbers.gradients }] as const),
      ...Object.values(built.state).map(
        (slot) => [slot.name, { ...slot, arena: arenaNumbers.kvCache }] as const,
      ),
    ]);
    const expected = [...expectedOf(sample, trial)];
    u32(expected.length);
    for (const [name, { data }] of expected) {
      const place = places.get(name)!;
      const { rtol, atol } = toleranceOf(trial, name, data);
      bytes(Buffer.from(name));
      u32(place.arena);
      u32(place.offset);
      u32(dtypes.indexOf(place.dtype));
      f64([rtol, atol]);
      u32(data.length);
      f64(data);
    }
  }
}
writeFileSync(file, Buffer.concat([new Uint8Array(Uint32Array.of(count).buffer), ...pieces]));
console.log(`${count} samples`);
