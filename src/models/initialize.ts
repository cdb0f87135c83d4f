import type { Initialization, Module } from '../nn/index.js';
import { RandomStream } from '../random/stream.js';
import { sizeOf } from '../shape/shape.js';
import type { ParameterEntry, ParameterTable } from './parameterTable.js';

function fill(
  values: Float32Array,
  initialization: Initialization,
  seed: number,
  stream: number,
): Float32Array {
  const random = new RandomStream(seed, stream);
  switch (initialization.kind) {
    case 'constant':
      return values.fill(initialization.value);
    case 'normal':
      random.fillNormal(values, 0, initialization.deviation);
      return values;
    case 'uniform':
      random.fillUniform(values, -initialization.bound, initialization.bound);
      return values;
  }
}

/**
 * First values of all parameters, one at a time. Each draws from a stream of its own, numbered in the order of
 * declaration, so that freezing or regrouping parameters changes none of them. `values` holds them until the next is asked for:
 * all share one memory, or those of a whole model would wait for the garbage collector.
 */
export function* initialValues(
  model: Module,
  table: ParameterTable,
  seed: number,
): Generator<{ entry: ParameterEntry; values: Float32Array }> {
  const streams = new Map([...model.namedParameters().keys()].map((name, index) => [name, index]));
  const sizes = table.entries.map(({ parameter }) => sizeOf(parameter.shape));
  const memory = new Float32Array(Math.max(0, ...sizes));
  for (const [index, entry] of table.entries.entries()) {
    const { parameter } = entry;
    const values = memory.subarray(0, sizes[index]);
    yield { entry, values: fill(values, parameter.initialization, seed, streams.get(entry.name)!) };
  }
}
