import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { temporaryFolder } from '../fixtures/folder.ts';
import { memorySite } from '../serve/sites.ts';
import { tftp } from '../serve/tftp/tftp-harness.ts';

/** Clients of others through a network that loses their first request, or the first answer: they ask again. */

const DATA = Buffer.from(Array.from({ length: 3000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
const folder = await temporaryFolder();

type Direction = 'there' | 'back';

/**
 * Stands between one client and a server: what the client sends to `port` goes to the server, and what the server's
 * ports answer comes from `port`, as from a server of a single port.
 *
 * @param loses whether the n-th datagram of a direction, from 1, is lost.
 */
async function between(t: TestContext, server: number, loses: (direction: Direction, n: number) => boolean) {
  const front = createSocket('udp4');
  const back = createSocket('udp4');
  for (const socket of [front, back]) t.after(() => socket.close());
  const bound = (socket: Socket) => new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  await Promise.all([bound(front), bound(back)]);
  const count = { there: 0, back: 0 };
  let client = 0;
  let transfer = server;
  front.on('message', (bytes, { port }) => {
    client = port;
    count.there += 1;
    // A request goes to the port that everyone knows, the rest to the transfer's.
    const to = bytes[1] === 1 ? server : transfer;
    if (!loses('there', count.there)) back.send(bytes, to, '127.0.0.1');
  });
  back.on('message', (bytes, { port }) => {
    transfer = port;
    count.back += 1;
    if (!loses('back', count.back)) front.send(bytes, client, '127.0.0.1');
  });
  return { port: front.address().port, count };
}

function run(file: string, words: readonly string[]): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    execFile(file, [...words], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), said: out + err });
    });
  });
}

const curl = (port: number, to: string) =>
  run('curl', ['-sS', '--noproxy', '*', '-o', to, `tftp://127.0.0.1:${port}/f`]);
const hpa = (port: number, to: string) =>
  run('tftp', ['-m', 'binary', '127.0.0.1', String(port), '-c', 'get', '/f', to]);

// Each waits for a time-out of its own: all wait at once.
describe('a network that loses datagrams', { concurrency: true }, () => {
  for (const [what, fetch, loses] of [
    ['curl loses its request', curl, (direction: Direction, n: number) => direction === 'there' && n === 1],
    [
      'curl loses the first answer',
      curl,
      (direction: Direction, n: number) => direction === 'back' && n === 1,
    ],
    ['curl loses a block', curl, (direction: Direction, n: number) => direction === 'back' && n === 3],
    [
      'tftp-hpa loses its request',
      hpa,
      (direction: Direction, n: number) => direction === 'there' && n === 1,
    ],
    [
      'tftp-hpa loses the first block',
      hpa,
      (direction: Direction, n: number) => direction === 'back' && n === 1,
    ],
    [
      'tftp-hpa loses its first ACK',
      hpa,
      (direction: Direction, n: number) => direction === 'there' && n === 2,
    ],
  ] as const) {
    it(`${what}, and gets the file all the same`, async (t) => {
      const server = await tftp(t, memorySite({ '/f': DATA }));
      const { port } = await between(t, server.port, loses);
      const to = join(folder, what.replaceAll(' ', '-'));
      const { code, said } = await fetch(port, to);
      assert.deepEqual([code, said], [0, '']);
      assert.ok((await readFile(to)).equals(DATA));
      assert.deepEqual(server.errors, []);
    });
  }
});
