import { DataError } from '../errors.js';

/**
 * Decodes UTF-8 that comes in pieces; characters may lie across their borders. A byte order mark at the start is dropped.
 *
 * @param name what the DataError names where the bytes are no UTF-8
 */
export async function* decodeUtf8(pieces: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let done = 0;
  const decode = (bytes?: Uint8Array): string => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch (cause) {
      const place = bytes ? `between bytes ${done} and ${done + bytes.length}` : 'at its end';
      throw new DataError(
        `${name} is no UTF-8 text (${place}); convert it first, for example with iconv`,
        { name },
        { cause },
      );
    }
  };
  for await (const piece of pieces) {
    const text = decode(piece);
    done += piece.length;
    if (text !== '') yield text;
  }
  const rest = decode();
  if (rest !== '') yield rest;
}
