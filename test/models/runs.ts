import { type CompileOptions, compile, type Program } from '#src/compile/index.js';
import type { Graph, Slot } from '#src/graph/graph.js';
import { encodeScalars, type ScalarName } from '#src/ops/index.js';
import { Session, type SessionOptions } from '#src/runtime/session.js';
import { sizeOf } from '#src/shape/shape.js';
import { testDevice } from '../device.js';
import { Arenas, interpret } from '../reference/interpreter.js';

type Numbers = ArrayLike<number>;

/** Programs over shared arenas: in float64 by the interpreter, or in native code. */
export interface Runs {
  write(slot: Slot, values: Numbers): Promise<void>;
  read(slot: Slot): Promise<Numbers>;
  run(
    program: string,
    inputs: Readonly<Record<string, Numbers>>,
    scalars?: Partial<Record<ScalarName, number>>,
  ): Promise<ReadonlyMap<string, Numbers>>;
  close(): Promise<void>;
}

export function interpretedRuns(graphs: Readonly<Record<string, Graph>>): Runs {
  const arenas = new Arenas();
  return {
    write: async (slot, values) => arenas.write(slot, values),
    read: async (slot) => arenas.read(slot).data,
    run: async (program, inputs, scalars) => {
      const results = interpret(graphs[program], { inputs, arenas, scalars });
      return new Map([...results].map(([name, { data }]) => [name, data]));
    },
    close: async () => {},
  };
}

const typed = (dtype: string, values: Numbers) =>
  dtype === 'i32' ? Int32Array.from(values) : Float32Array.from(values);

export async function nativeRuns(
  graphs: Readonly<Record<string, Graph>>,
  arenas: CompileOptions['arenas'],
  options: SessionOptions = {},
): Promise<Runs> {
  const programs = new Map<string, Program>(
    Object.entries(graphs).map(([name, graph]) => [name, compile(graph, { arenas })]),
  );
  const session = Session.open({ device: testDevice, threads: 1, ...options });
  const numbers = await session.load([...programs.values()].map(({ bytes }) => bytes));
  const ids = new Map([...programs.keys()].map((name, index) => [name, numbers[index]]));
  return {
    write: (slot, values) => session.write(slot.arena, slot.offset, typed(slot.dtype, values)),
    read: (slot) =>
      session.read(slot.arena, slot.offset, typed(slot.dtype, new Float64Array(sizeOf(slot.shape)))),
    run: async (name, inputs, scalars) => {
      const program = programs.get(name)!;
      const block = new Uint8Array(program.inputBytes);
      for (const field of program.inputs) {
        block.set(new Uint8Array(typed(field.dtype, inputs[field.name]).buffer), field.offset);
      }
      const found = new Uint8Array(program.outputBytes);
      await session.run(ids.get(name)!, block, encodeScalars(scalars ?? {}), found);
      return new Map(
        program.outputs.map(({ name, dtype, offset, shape }) => {
          const count = sizeOf(shape);
          const values =
            dtype === 'i32'
              ? new Int32Array(found.buffer, offset, count)
              : new Float32Array(found.buffer, offset, count);
          return [name, values] as const;
        }),
      );
    },
    close: () => session.close(),
  };
}
