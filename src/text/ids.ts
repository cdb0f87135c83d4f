/** Token ids in the narrowest unsigned array that holds a vocabulary. */
export type TokenIds = Uint8Array | Uint16Array | Uint32Array;

/** Bytes of one id: 1 for up to 256 tokens, 2 for up to 65,536, else 4. */
export const idBytes = (vocabSize: number): 1 | 2 | 4 =>
  vocabSize <= 2 ** 8 ? 1 : vocabSize <= 2 ** 16 ? 2 : 4;

const arrays = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };

/** Zeroed ids of the width that `vocabSize` needs. */
export const allocateIds = (vocabSize: number, length: number): TokenIds =>
  new arrays[idBytes(vocabSize)](length);

/** Ids of `bytes` bytes each that look at a part of a buffer. */
export const viewIds = (
  bytes: 1 | 2 | 4,
  buffer: ArrayBuffer,
  byteOffset: number,
  length: number,
): TokenIds => new arrays[bytes](buffer, byteOffset, length);
