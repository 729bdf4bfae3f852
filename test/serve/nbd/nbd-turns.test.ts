import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { encodeNbdRequest, NBD_COMMAND } from '../../../src/formats/net/nbd-request.ts';
import { ReplyMemory } from '../../../src/serve/nbd/nbd-memory.ts';
import { Transmission } from '../../../src/serve/nbd/nbd-transmission.ts';
import { DEFAULT_NBD_LIMITS, type NbdExport } from '../../../src/serve/nbd/nbd-types.ts';
import { Shares } from '../../../src/serve/shares.ts';

const MEBIBYTE = 1024 * 1024;

/** A transmission whose file is in memory, and whose client takes whatever is sent at once. */
function greedy(structured: boolean, looks: () => void = () => {}) {
  let written = 0;
  const socket = new Writable({
    highWaterMark: 16 * MEBIBYTE,
    write(chunk: Buffer, _encoding, taken) {
      written += chunk.length;
      taken();
    },
    writev(chunks, taken) {
      for (const { chunk } of chunks) written += (chunk as Buffer).length;
      taken();
    },
  });
  const root: NbdExport = {
    name: 'root',
    description: '',
    size: 2 ** 40,
    generation: 0,
    read: () => undefined,
    check: looks,
    close: async () => {},
  };
  let waiting: Buffer = Buffer.alloc(0);
  const memory = new ReplyMemory(DEFAULT_NBD_LIMITS.bufferBytes, 1000, () => {});
  const context = {
    limits: DEFAULT_NBD_LIMITS,
    memory,
    share: new Shares().of('192.0.2.1'),
    now: () => performance.now(),
  };
  let busy = 0;
  const take = (): void => {
    busy += 1;
    assert.equal(busy, 1, 'requests are taken while requests are taken');
    waiting = waiting.subarray(transmission.take(waiting));
    busy -= 1;
  };
  const transmission = new Transmission(socket as unknown as Socket, root, structured, context, {
    resume: take,
    finished: () => {},
    broken: () => assert.fail('broken'),
    failed: (error) => assert.fail(String(error)),
  });
  return {
    transmission,
    memory,
    written: () => written,
    /** So many reads of `length` bytes, all in one piece. */
    ask(count: number, length: number): void {
      const reads = Array.from({ length: count }, (_, at) =>
        encodeNbdRequest({
          flags: 0,
          command: NBD_COMMAND.read,
          cookie: BigInt(at),
          offset: at * length,
          length,
        }),
      );
      waiting = Buffer.concat([waiting, ...reads]);
      take();
    },
  };
}

for (const structured of [true, false]) {
  const kind = structured ? 'structured' : 'simple';

  for (const [count, length] of [
    [64, MEBIBYTE],
    [256, 256 * 1024],
    [16_384, 4096],
  ] as const) {
    test(`a client that takes all at once gets its turn and no more: ${count} reads of ${length} bytes, ${kind}`, async () => {
      const client = greedy(structured);
      client.ask(count, length);
      let last = 0;
      let idle = 0;
      while (client.transmission.requests < count) {
        const now = client.written();
        // What frees memory and what begins a turn need not come in one.
        idle = now > last || now > count * length ? 0 : idle + 1;
        assert.ok(idle <= 2, 'turns bring it something');
        assert.ok(now - last <= 3 * MEBIBYTE, `${now - last} bytes in one turn`);
        last = now;
        await nextTurn();
      }
      assert.equal(client.transmission.bytes, count * length);
      assert.equal(client.memory.held, 0);
      await client.transmission.end();
    });
  }

  for (const length of [0, 1, 512]) {
    test(`and so does one that asks for little so often: ${length} bytes, ${kind}`, async () => {
      const client = greedy(structured);
      // As many as one read from a socket may bring.
      client.ask(75_000, length);
      for (let last = 0, idle = 0; last < 75_000; ) {
        const now = client.transmission.requests;
        idle = now > last ? 0 : idle + 1;
        assert.ok(idle <= 2, 'turns bring it something');
        assert.ok(now - last <= 2048, `${now - last} requests in one turn`);
        last = now;
        await nextTurn();
      }
      assert.equal(client.memory.held, 0);
      await client.transmission.end();
    });
  }

  test(`a read of what is in memory is answered before anything else happens, ${kind}`, async () => {
    const looked: number[] = [];
    const client = greedy(structured, () => looked.push(client.written()));
    client.ask(1, 4096);
    assert.equal(client.transmission.bytes, 4096);
    assert.deepEqual(looked, [0], 'the file was looked at before it left');
    assert.equal(client.memory.held, 0);
    await client.transmission.end();
  });
}
