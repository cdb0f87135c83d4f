// Runs in a worker: hashes the pieces it is sent and sends their memory back; `null` asks for the digest.
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

const hash = createHash('sha256');

parentPort!.on('message', (message: { piece: Uint8Array<ArrayBuffer>; length: number } | null) => {
  if (message === null) {
    parentPort!.postMessage(hash.digest('hex'));
  } else {
    hash.update(message.piece.subarray(0, message.length));
    parentPort!.postMessage(message.piece, [message.piece.buffer]);
  }
});
