import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ensureFile, type RemoteFile } from '#src/data/download.js';
import { DataError } from '#src/errors.js';
import { temporaryFolder } from './folder.js';

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) % 251));
const sha256 = createHash('sha256').update(content).digest('hex');

interface Served {
  readonly remote: RemoteFile;
  readonly path: string;
  /** The Range header of every request, or none. */
  readonly ranges: (string | undefined)[];
}

async function serve(t: ExecutionContext, answer: RequestListener): Promise<Served> {
  const ranges: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    ranges.push(request.headers.range);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const path = join(await temporaryFolder(t), 'cache', 'file.bin');
  return {
    remote: { url: `http://127.0.0.1:${port}/file.bin`, bytes: content.length, sha256 },
    path,
    ranges,
  };
}

/** A server that knows ranges. */
function answerWith(bytes: Buffer): RequestListener {
  return (request, response) => {
    const begin = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (begin >= bytes.length) response.writeHead(416).end();
    else if (begin === 0) response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
    else {
      const range = `bytes ${begin}-${bytes.length - 1}/${bytes.length}`;
      response.writeHead(206, { 'content-length': bytes.length - begin, 'content-range': range });
      response.end(bytes.subarray(begin));
    }
  };
}

test('downloads once, with progress, and then finds the file', async (t) => {
  const { remote, path, ranges } = await serve(t, answerWith(content));
  const progress: number[] = [];
  await ensureFile(remote, path, {
    onProgress: ({ stage, done, total }) => {
      t.is(stage, 'download');
      t.is(total, content.length);
      progress.push(done);
    },
  });
  t.true((await readFile(path)).equals(content));
  t.false(existsSync(`${path}.part`));
  t.is(progress.at(-1), content.length);
  t.deepEqual(
    progress,
    [...progress].sort((a, b) => a - b),
  );
  await ensureFile(remote, path);
  t.deepEqual(ranges, [undefined]);
});

test('goes on where the connection broke', async (t) => {
  const whole = answerWith(content);
  let broken = false;
  const { remote, path, ranges } = await serve(
    t,
    (request: IncomingMessage, response: ServerResponse & { req: IncomingMessage }) => {
      if (broken) return whole(request, response);
      broken = true;
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 100_000), () => setTimeout(() => response.destroy(), 100));
    },
  );
  const error = await t.throwsAsync(ensureFile(remote, path), {
    instanceOf: DataError,
    message: /cannot download/,
  });
  t.true(error!.message.includes(`put the file of 300000 bytes from ${remote.url} at ${path}`));
  t.false(existsSync(path));
  t.is((await readFile(`${path}.part`)).length, 100_000);
  await ensureFile(remote, path);
  t.deepEqual(ranges, [undefined, 'bytes=100000-']);
  t.true((await readFile(path)).equals(content));
});

test('begins again where the server knows no ranges', async (t) => {
  const { remote, path } = await serve(t, (_, response) => response.end(content));
  await ensureFile(remote, path);
  const other = `${path}2`;
  await writeFile(`${other}.part`, content.subarray(0, 1000));
  await ensureFile(remote, other);
  t.true((await readFile(other)).equals(content));
});

test('a part that is whole needs no server, one that is too long begins again', async (t) => {
  const { remote, path, ranges } = await serve(t, answerWith(content));
  await ensureFile(remote, path);
  await writeFile(`${path}2.part`, content);
  await ensureFile(remote, `${path}2`);
  await writeFile(`${path}3.part`, Buffer.concat([content, content]));
  await ensureFile(remote, `${path}3`);
  t.deepEqual(ranges, [undefined, undefined]);
  t.true((await readFile(`${path}3`)).equals(content));
});

test('a part of something else is found out and removed', async (t) => {
  const { remote, path } = await serve(t, answerWith(content));
  await ensureFile(remote, path);
  await writeFile(`${path}2.part`, Buffer.alloc(1000, 1));
  await t.throwsAsync(ensureFile(remote, `${path}2`), {
    instanceOf: DataError,
    message: /another sha256.*it was removed: try again/,
  });
  t.false(existsSync(`${path}2.part`));
  await ensureFile(remote, `${path}2`);
  t.true((await readFile(`${path}2`)).equals(content));
});

test('a file of another size is refused before it is written', async (t) => {
  const { remote, path } = await serve(t, answerWith(content.subarray(1)));
  await t.throwsAsync(ensureFile(remote, path), {
    instanceOf: DataError,
    message: /offers 299999 bytes instead of 300000/,
  });
  t.false(existsSync(`${path}.part`));
});

test('a server that does not say how much it sends is stopped', async (t) => {
  const { remote, path } = await serve(t, (_, response) => {
    response.write(content);
    response.end(content);
  });
  await t.throwsAsync(ensureFile(remote, path), {
    instanceOf: DataError,
    message: /more than 300000 bytes came/,
  });
  const short = await serve(t, (_, response) => {
    response.write(content.subarray(0, 10));
    response.end();
  });
  await t.throwsAsync(ensureFile(short.remote, short.path), {
    instanceOf: DataError,
    message: /ended after 10 of 300000 bytes/,
  });
});

test('another range than the one asked for is refused', async (t) => {
  const { remote, path } = await serve(t, (_, response) => {
    response.writeHead(206, { 'content-length': 299_000, 'content-range': 'bytes 0-298999/300000' });
    response.end(content.subarray(0, 299_000));
  });
  await t.throwsAsync(ensureFile(remote, path), { message: /offers 299000 bytes/ });
  await writeFile(`${path}.part`, content.subarray(0, 1000));
  await t.throwsAsync(ensureFile(remote, path), {
    instanceOf: DataError,
    message: /offers the range 'bytes 0-298999\/300000'/,
  });
});

test('an error of the server is told', async (t) => {
  const { remote, path } = await serve(t, (_, response) => response.writeHead(404).end());
  await t.throwsAsync(ensureFile(remote, path), {
    instanceOf: DataError,
    message: /answered 404 Not Found; to go on without a network/,
  });
});

test('without a network the message names the address, the file and the place', async (t) => {
  const path = join(await temporaryFolder(t), 'text8.zip');
  const remote = { url: 'http://127.0.0.1:1/text8.zip', bytes: 5, sha256 };
  const error = await t.throwsAsync(ensureFile(remote, path), { instanceOf: DataError });
  t.regex(error.message, /cannot download http:\/\/127\.0\.0\.1:1\/text8\.zip: fetch failed \(.+\)/);
  t.true(error.message.endsWith(`put the file of 5 bytes from ${remote.url} at ${path}`));
});

test('a wrong file put there by hand is named and kept', async (t) => {
  const { remote, path } = await serve(t, answerWith(content));
  await ensureFile(remote, path);
  await writeFile(path, 'short');
  await t.throwsAsync(ensureFile(remote, path), {
    instanceOf: DataError,
    message: /has 5 bytes instead of 300000; delete it/,
  });
  await writeFile(path, Buffer.alloc(content.length));
  await t.throwsAsync(ensureFile(remote, path), { instanceOf: DataError, message: /another sha256/ });
  t.is((await readFile(path)).length, content.length);
});

test('a signal stops it with its reason and keeps the part', async (t) => {
  const { remote, path } = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': content.length });
    response.write(content.subarray(0, 50_000)); // and no more
  });
  const controller = new AbortController();
  const reason = new Error('enough');
  const stopped = ensureFile(remote, path, {
    signal: controller.signal,
    onProgress: () => controller.abort(reason),
  });
  t.is(await t.throwsAsync(stopped), reason);
  t.true((await readFile(`${path}.part`)).length > 0);
});
