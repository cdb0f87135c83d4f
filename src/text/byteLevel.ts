// tokenizer.json and GPT-2's files write a token's bytes as printable characters, one a byte: a printable byte of Latin-1 as
// itself, the others as the characters from U+0100 on, in their order (Radford et al. 2019, `bytes_to_unicode`).

const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

let unprintable = 0;
const characters = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(isPrintable(byte) ? byte : 0x100 + unprintable++),
);
const bytes = new Int16Array(0x100 + unprintable).fill(-1);
characters.forEach((character, byte) => {
  bytes[character.charCodeAt(0)] = byte;
});

export function byteLevelText(token: Uint8Array): string {
  let text = '';
  for (const byte of token) text += characters[byte];
  return text;
}

/** The bytes that `text` stands for, undefined where it has characters that stand for none. */
export function byteLevelBytes(text: string): Uint8Array | undefined {
  const token = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[text.charCodeAt(i)] ?? -1;
    if (byte < 0) return undefined;
    token[i] = byte;
  }
  return token;
}
