export interface Session {
  load(programs: Uint8Array[]): Promise<number[]>;
  run(id: number, inputs: Uint8Array, scalars: Float64Array): Promise<ArrayBuffer>;
}
