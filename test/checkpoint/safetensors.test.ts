import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { openSafetensors, type TensorSource, writeSafetensors } from '#src/checkpoint/safetensors.js';
import { CheckpointError } from '#src/errors.js';
import { temporaryFolder } from './samples.js';

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** A file of the given header text and data bytes. */
function rawFile(header: string | Uint8Array, dataBytes: number, claimed?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const file = Buffer.alloc(8 + text.length + dataBytes);
  file.writeBigUInt64LE(claimed ?? BigInt(text.length));
  file.set(text, 8);
  return file;
}

test('writes the layout of the format, byte for byte', async (t) => {
  const path = join(await temporaryFolder(t), 'a.safetensors');
  const digest = await writeSafetensors(
    path,
    [
      { name: 'u', dtype: 'U8', shape: [3], source: Uint8Array.of(1, 2, 3) },
      { name: 'x', dtype: 'F32', shape: [1, 2], source: bytesOf(Float32Array.of(1.5, -2)) },
    ],
    { format: 'pt' },
  );
  const json =
    '{"__metadata__":{"format":"pt"},"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},' +
    '"u":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}';
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
  const file = await readFile(path);
  t.is(file.readBigUInt64LE(), BigInt(padded.length));
  t.is(file.subarray(8, 8 + padded.length).toString(), padded);
  t.deepEqual([...file.subarray(8 + padded.length)], [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 1, 2, 3]);
  t.deepEqual(digest, { bytes: file.length, sha256: createHash('sha256').update(file).digest('hex') });
});

test('streams tensors larger than a piece, in order and without gaps', async (t) => {
  const path = join(await temporaryFolder(t), 'a.safetensors');
  const count = 5_000_001; // 20 MB, a piece and a quarter
  const source: TensorSource['source'] = async (offset, target) => {
    const first = offset / 4;
    const values = Int32Array.from(
      { length: Math.ceil(target.length / 4) + 1 },
      (_, i) => Math.floor(first) + i,
    );
    target.set(bytesOf(values).subarray(offset % 4, (offset % 4) + target.length));
  };
  const digest = await writeSafetensors(path, [
    { name: 'small', dtype: 'I32', shape: [3], source: bytesOf(Int32Array.of(7, 8, 9)) },
    { name: 'large', dtype: 'I32', shape: [count], source },
  ]);
  const file = await readFile(path);
  t.is(digest.sha256, createHash('sha256').update(file).digest('hex'));
  const weights = await openSafetensors(path);
  const large = new Int32Array((await weights.read('large')).buffer);
  t.true(large.length === count && large.every((value, i) => value === i));
  const middle = new Uint8Array(8);
  await weights.readRange('large', 4_500_000 * 4, middle);
  t.deepEqual([...new Int32Array(middle.buffer)], [4_500_000, 4_500_001]);
  await t.throwsAsync(weights.readRange('large', count * 4 - 4, middle), {
    instanceOf: CheckpointError,
    message: /20000004/,
  });
  await t.throwsAsync(weights.readInto('large', middle), { instanceOf: CheckpointError });
  await t.throwsAsync(weights.read('absent'), { instanceOf: CheckpointError, message: /no tensor absent/ });
  await weights.close();
});

test('any set of tensors comes back as it was written', async (t) => {
  const path = join(await temporaryFolder(t), 'a.safetensors');
  const sizes = { F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;
  const tensor = fc
    .record({
      name: fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', '1', '"\\', '\ud83d\ude00')),
      dtype: fc.constantFrom(...(Object.keys(sizes) as (keyof typeof sizes)[])),
      shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
      seed: fc.nat(255),
    })
    .map(({ seed, ...rest }) => ({
      ...rest,
      source: new Uint8Array(rest.shape.reduce((a, b) => a * b, sizes[rest.dtype])).map(
        (_, i) => seed + 31 * i,
      ),
    }));
  const property = fc.asyncProperty(
    fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 6 }),
    async (tensors) => {
      await writeSafetensors(path, tensors);
      const weights = await openSafetensors(path);
      t.deepEqual([...weights.names].sort(), tensors.map(({ name }) => name).sort());
      for (const { name, dtype, shape, source } of tensors) {
        t.deepEqual(weights.tensors.get(name), { dtype, shape, bytes: source.length });
        t.deepEqual(await weights.read(name), source);
      }
      await weights.close();
    },
  );
  await fc.assert(property, { numRuns: 60 });
});

test('converts every floating-point type to float32', async (t) => {
  const path = join(await temporaryFolder(t), 'a.safetensors');
  const f16 = Uint16Array.of(
    0x3c00,
    0xc000,
    0x7bff,
    0x0001,
    0x8001,
    0x03ff,
    0x0400,
    0x8000,
    0x7c00,
    0xfc00,
    0x7e00,
  );
  const bf16 = Uint16Array.of(0x3f80, 0xc049, 0x0001, 0x8000, 0x7f80, 0x7fc0);
  await writeSafetensors(path, [
    { name: 'f16', dtype: 'F16', shape: [11], source: bytesOf(f16) },
    { name: 'bf16', dtype: 'BF16', shape: [6], source: bytesOf(bf16) },
    { name: 'f64', dtype: 'F64', shape: [2], source: bytesOf(Float64Array.of(Math.PI, -1e300)) },
    { name: 'f32', dtype: 'F32', shape: [2], source: bytesOf(Float32Array.of(0.1, -7)) },
    { name: 'i32', dtype: 'I32', shape: [], source: bytesOf(Int32Array.of(5)) },
  ]);
  const weights = await openSafetensors(path);
  const read = async (name: string) => [...(await weights.readFloat32(name))];
  const smallest = 2 ** -24;
  t.deepEqual(await read('f16'), [
    ...[1, -2, 65504, smallest, -smallest, 1023 * smallest, 2 ** -14, -0],
    ...[Infinity, -Infinity, Number.NaN],
  ]);
  t.deepEqual(await read('bf16'), [1, -3.140625, 2 ** -133, -0, Infinity, Number.NaN]);
  t.deepEqual(await read('f64'), [Math.fround(Math.PI), -Infinity]);
  t.deepEqual(await read('f32'), [Math.fround(0.1), -7]);
  await t.throwsAsync(weights.readFloat32('i32'), { instanceOf: CheckpointError, message: /I32/ });
  await weights.close();
});

test('refuses hostile and broken headers', async (t) => {
  const path = join(await temporaryFolder(t), 'a.safetensors');
  const tensor = (shape: string, offsets: string, dtype = '"F32"') =>
    `{"x":{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}}`;
  const cases: [string, Uint8Array, RegExp][] = [
    ['empty file', new Uint8Array(0), /0 bytes/],
    ['short file', new Uint8Array(7), /7 bytes/],
    ['length beyond the file', rawFile('{}', 0, 100n), /claims 100 bytes/],
    ['length of 2^63', rawFile('{}', 0, 2n ** 63n), /claims 9223372036854775808/],
    ['length above the cap', rawFile('{}', 0, 2n ** 26n), /more than/],
    ['no JSON', rawFile('{"x"', 0), /not JSON/],
    ['no UTF-8', rawFile(Uint8Array.of(0x22, 0xff, 0x22), 0), /not JSON/],
    ['byte order mark', rawFile('\ufeff{}', 0), /not JSON/],
    ['no object', rawFile('[]', 0), /not a JSON object/],
    ['deep nesting', rawFile('['.repeat(200_000), 0), /not JSON/],
    ['a string for a tensor', rawFile('{"x":"y"}', 0), /not described/],
    ['unknown dtype', rawFile(tensor('[1]', '[0,4]', '"F31"'), 4), /"F31"/],
    ['dtype of the prototype', rawFile(tensor('[1]', '[0,4]', '"toString"'), 4), /toString/],
    ['negative extent', rawFile(tensor('[-1,-1]', '[0,4]'), 4), /shape/],
    ['fractional extent', rawFile(tensor('[0.5,2]', '[0,4]'), 4), /shape/],
    ['overflowing product', rawFile(tensor('[4294967296,4294967296,4294967296]', '[0,0]'), 0), /shape/],
    ['product that overflows before a zero', rawFile(tensor('[9007199254740991,8,0]', '[0,0]'), 0), /shape/],
    ['extent above the safe integers', rawFile(tensor('[1e300]', '[0,4]'), 4), /shape/],
    ['no shape', rawFile(tensor('{}', '[0,4]'), 4), /shape/],
    ['size and offsets differ', rawFile(tensor('[2]', '[0,4]'), 4), /needs 8 bytes/],
    ['reversed offsets', rawFile(tensor('[0]', '[4,0]'), 4), /needs 0 bytes/],
    ['negative offset', rawFile(tensor('[1]', '[-4,0]'), 4), /needs 4 bytes/],
    ['three offsets', rawFile(tensor('[1]', '[0,4,8]'), 4), /data_offsets/],
    ['offset beyond the file', rawFile(tensor('[1]', '[4,8]'), 4), /hole or an overlap/],
    ['data left over', rawFile(tensor('[1]', '[0,4]'), 5), /end at byte/],
    ['data missing', rawFile(tensor('[2]', '[0,8]'), 4), /end at byte/],
    [
      'unknown field',
      rawFile('{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"y":1}}', 0),
      /unknown field "y"/,
    ],
    [
      'twice the same name',
      rawFile(`${tensor('[1]', '[0,4]').slice(0, -1)},${tensor('[1]', '[0,4]').slice(1)}`, 4),
      /twice/,
    ],
    ['the same name, escaped', rawFile(tensor('[1]', '[0,4]').replace('}}', '},"\\u0078":1}'), 4), /twice/],
    [
      'twice the same field',
      rawFile('{"x":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}', 0),
      /twice/,
    ],
    ['metadata that is no string', rawFile('{"__metadata__":{"a":1}}', 0), /__metadata__/],
    ['metadata that is no object', rawFile('{"__metadata__":[]}', 0), /__metadata__/],
    [
      'overlap',
      rawFile(
        '{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
        6,
      ),
      /hole or an overlap/,
    ],
    [
      'hole',
      rawFile(
        '{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}',
        5,
      ),
      /hole or an overlap/,
    ],
  ];
  for (const [what, bytes, message] of cases) {
    await writeFile(path, bytes);
    await t.throwsAsync(openSafetensors(path), { instanceOf: CheckpointError, message }, what);
  }
});

test('any change of a header is refused or read within the file', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.safetensors');
  await writeSafetensors(path, [
    { name: 'x', dtype: 'F32', shape: [2, 3], source: new Uint8Array(24) },
    { name: 'y', dtype: 'U8', shape: [5], source: new Uint8Array(5) },
  ]);
  const whole = await readFile(path);
  const edits = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  const property = fc.asyncProperty(edits, fc.option(fc.nat(whole.length)), async (changes, cut) => {
    const bytes = Buffer.from(whole);
    for (const [at, value] of changes) bytes[at] = value;
    await writeFile(path, cut === null ? bytes : bytes.subarray(0, cut));
    const weights = await openSafetensors(path).catch((error) => {
      if (!(error instanceof CheckpointError)) throw error;
    });
    for (const name of weights?.names ?? []) await weights!.read(name);
    await weights?.close();
  });
  await fc.assert(property, { numRuns: 1000 });
  t.pass();
});

test('refuses to write what cannot be read back', async (t) => {
  const path = join(await temporaryFolder(t), 'a.safetensors');
  const x: TensorSource = { name: 'x', dtype: 'U8', shape: [1], source: Uint8Array.of(1) };
  const cases: [TensorSource[], RegExp][] = [
    [[x, x], /taken/],
    [[{ ...x, name: '__metadata__' }], /taken/],
    [[{ ...x, shape: [2] }], /1 bytes, its shape needs 2/],
    [[{ ...x, shape: [-1] }], /cannot be stored/],
    [[{ ...x, dtype: 'F31' as 'F32' }], /cannot be stored/],
    [[{ ...x, shape: [2 ** 40, 2 ** 40] }], /cannot be stored/],
  ];
  for (const [tensors, message] of cases) {
    await t.throwsAsync(writeSafetensors(path, tensors), { instanceOf: CheckpointError, message });
  }
  await t.throwsAsync(writeSafetensors(join(path, 'no'), [x]), {
    instanceOf: CheckpointError,
    message: /ENOTDIR/,
  });
  await t.throwsAsync(writeSafetensors('/dev/full', [x]), {
    instanceOf: CheckpointError,
    message: /disk is full/,
  });
});

test('reads the shards of an index, and none outside its folder', async (t) => {
  const folder = await temporaryFolder(t);
  for (const [i, name] of ['a', 'b'].entries()) {
    const shard = join(folder, `model-0000${i + 1}-of-00002.safetensors`);
    await writeSafetensors(shard, [
      { name, dtype: 'F32', shape: [1], source: bytesOf(Float32Array.of(i + 1)) },
    ]);
  }
  const path = join(folder, 'model.safetensors.index.json');
  const index = (weightMap: unknown) =>
    writeFile(path, JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap }));
  await index({ a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' });
  const weights = await openSafetensors(folder);
  t.deepEqual(weights.names, ['a', 'b']);
  t.deepEqual([...(await weights.readFloat32('b'))], [2]);
  await weights.close();
  await index({ b: 'model-00001-of-00002.safetensors' });
  await t.throwsAsync(openSafetensors(path), { instanceOf: CheckpointError, message: /does not hold it/ });
  for (const file of [
    '../x.safetensors',
    '/etc/x.safetensors',
    'a/b.safetensors',
    'a\\b.safetensors',
    '..',
    7,
    null,
    'x\0.safetensors',
    'x.bin',
  ]) {
    await index({ a: file });
    await t.throwsAsync(
      openSafetensors(path),
      { instanceOf: CheckpointError, message: /plain name/ },
      String(file),
    );
  }
  for (const text of ['', '{}', 'null', '{"weight_map":[]}']) {
    await writeFile(path, text);
    await t.throwsAsync(openSafetensors(path), { instanceOf: CheckpointError }, text);
  }
  await t.throwsAsync(openSafetensors(join(folder, 'absent')), {
    instanceOf: CheckpointError,
    message: /no such file/,
  });
});
