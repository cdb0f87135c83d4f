import { type DType, dtypeBytes } from '../shape/dtype.js';
import { type Shape, sizeOf } from '../shape/shape.js';
import type { Session } from './session.js';

/** An array within the input or output block of a program. `offset` counts bytes. */
export interface ProgramField {
  readonly name: string;
  readonly offset: number;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** What a session needs to know of a compiled program. */
export interface ProgramDescription {
  readonly bytes: Uint8Array;
  readonly inputs: readonly ProgramField[];
  readonly outputs: readonly ProgramField[];
  readonly inputBytes: number;
  readonly outputBytes: number;
}

type Numbers<Type extends DType> = Type extends 'i32' ? Int32Array : Float32Array;

function numbersIn(
  block: ArrayBufferLike,
  { offset, shape, dtype }: ProgramField,
): Int32Array | Float32Array {
  const length = sizeOf(shape);
  if (dtypeBytes(dtype) !== 4) throw new TypeError(`no typed array for ${dtype}`);
  return dtype === 'i32' ? new Int32Array(block, offset, length) : new Float32Array(block, offset, length);
}

/** Results of one run, by the names the graph gave its outputs. */
export class Outputs {
  constructor(
    private readonly fields: readonly ProgramField[],
    private readonly block: ArrayBufferLike,
  ) {}

  get<Type extends DType = 'f32'>(name: string): Numbers<Type> {
    const field = this.fields.find((candidate) => candidate.name === name);
    if (!field) throw new TypeError(`the program has no output ${name}`);
    return numbersIn(this.block, field) as Numbers<Type>;
  }

  /** The first element of an output. */
  scalar(name: string): number {
    return this.get(name)[0];
  }
}

/** A program in a session, with the memory its inputs are gathered in. */
export class LoadedProgram {
  private readonly staging: Uint8Array;

  private constructor(
    private readonly session: Session,
    private readonly id: number,
    private readonly description: ProgramDescription,
  ) {
    this.staging = new Uint8Array(description.inputBytes);
  }

  /** Loads programs together, so that the session's memory is sized once. */
  static async load(
    session: Session,
    descriptions: readonly ProgramDescription[],
    matmulChoices?: string,
  ): Promise<LoadedProgram[]> {
    const ids = await session.load(
      descriptions.map(({ bytes }) => bytes),
      matmulChoices,
    );
    return descriptions.map((description, index) => new LoadedProgram(session, ids[index], description));
  }

  /** The memory of an input, int32 unless said, to be filled before `run`, which copies it at once. */
  input<Type extends DType = 'i32'>(name: string): Numbers<Type> {
    const field = this.description.inputs.find((candidate) => candidate.name === name);
    if (!field) throw new TypeError(`the program has no input ${name}`);
    return numbersIn(this.staging.buffer, field) as Numbers<Type>;
  }

  /** Copies the arrays of a batch to the inputs of their names. */
  fill(arrays: Readonly<Record<string, Int32Array | Float32Array>>): void {
    for (const field of this.description.inputs) {
      const values = arrays[field.name];
      if (!values) throw new TypeError(`the batch has no array ${field.name}`);
      numbersIn(this.staging.buffer, field).set(values);
    }
  }

  async run(scalars: Float64Array): Promise<Outputs> {
    const block = new ArrayBuffer(this.description.outputBytes);
    await this.session.run(this.id, this.staging, scalars, new Uint8Array(block));
    return new Outputs(this.description.outputs, block);
  }

  /** Runs the program and gives the seconds that each of its instructions took. */
  profile(scalars: Float64Array): Promise<Float64Array> {
    const outputs = new Uint8Array(this.description.outputBytes);
    return this.session.profile(this.id, this.staging, scalars, outputs);
  }
}
