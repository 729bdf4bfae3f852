import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { NBD_ERROR, NBD_EXPORT_FLAG } from '../../../src/formats/net/nbd.ts';
import {
  encodeNbdOption,
  encodeNbdOptionFrame,
  NBD_INFO,
  NBD_OPTION,
} from '../../../src/formats/net/nbd-option.ts';
import { NBD_REFUSED } from '../../../src/formats/net/nbd-option-reply.ts';
import { NBD_COMMAND, NBD_COMMAND_FLAG } from '../../../src/formats/net/nbd-request.ts';
import { content, dial, memoryExports, nbd, transmitting } from './nbd-harness.ts';

const MIB = 1024 * 1024;
const DATA = content(3 * MIB + 1234);
const { hasFlags, readOnly, canMultiConn, sendDf } = NBD_EXPORT_FLAG;
const FLAGS = hasFlags | readOnly | canMultiConn;
const exports = () =>
  memoryExports({ root: { data: DATA, description: 'a root' }, tree: { data: content(10) } });

describe('the handshake', () => {
  it('greets with fixed newstyle and no zeroes', async (t) => {
    const client = await dial(t, (await nbd(t, exports())).port);
    assert.equal(await client.greet(), 3);
  });

  it('LIST tells every export, and its description', async (t) => {
    const client = await dial(t, (await nbd(t, exports())).port);
    await client.greet();
    assert.deepEqual(await client.ask({ kind: 'list' }), [
      { kind: 'server', name: 'root', details: 'a root' },
      { kind: 'server', name: 'tree', details: '' },
      { kind: 'ack' },
    ]);
  });

  it('INFO tells what was asked for, and the handshake goes on', async (t) => {
    const tested = exports();
    const client = await dial(t, (await nbd(t, tested)).port);
    await client.greet();
    const { export: size, name, description, blockSize } = NBD_INFO;
    const wants = [size, name, description, blockSize, 999];
    assert.deepEqual(await client.ask({ kind: 'info', name: '', wants }), [
      { kind: 'info', info: { kind: 'export', size: DATA.length, flags: FLAGS } },
      { kind: 'info', info: { kind: 'name', name: 'root' } },
      { kind: 'info', info: { kind: 'description', text: 'a root' } },
      { kind: 'info', info: { kind: 'block-size', minimum: 1, preferred: 4096, maximum: 32 * MIB } },
      { kind: 'ack' },
    ]);
    assert.equal(tested.opened, 0);
    // The canonical name is told to whoever asked by another one; nothing else that nobody asked for.
    assert.deepEqual(await client.ask({ kind: 'info', name: '', wants: [] }), [
      { kind: 'info', info: { kind: 'export', size: DATA.length, flags: FLAGS } },
      { kind: 'info', info: { kind: 'name', name: 'root' } },
      { kind: 'ack' },
    ]);
    assert.equal((await client.ask({ kind: 'info', name: 'root', wants: [] })).length, 2);
  });

  it('offers unfragmented reads to those who asked for structured replies, and to nobody else', async (t) => {
    const client = await dial(t, (await nbd(t, exports())).port);
    await client.greet();
    const [told] = await client.go('tree', true);
    assert.deepEqual(told, { kind: 'export', size: 10, flags: FLAGS | sendDf });
  });

  for (const noZeroes of [true, false]) {
    it(`EXPORT_NAME begins the transmission, ${noZeroes ? 'without' : 'with'} zeroes`, async (t) => {
      const client = await dial(t, (await nbd(t, exports())).port);
      await client.greet(noZeroes ? 3 : 1);
      client.socket.write(encodeNbdOption({ kind: 'export-name', name: 'tree' }));
      const answer = await client.hear(noZeroes ? 10 : 134);
      assert.equal(answer.readBigUInt64BE(0), 10n);
      assert.equal(answer.readUInt16BE(8), FLAGS);
      assert.deepEqual((await client.read(2, 5)).data, content(10).subarray(2, 7));
    });
  }

  it('a client that does not know fixed newstyle is served too', async (t) => {
    const client = await dial(t, (await nbd(t, exports())).port);
    await client.greet(0);
    client.socket.write(encodeNbdOption({ kind: 'export-name', name: '' }));
    assert.equal((await client.hear(134)).readBigUInt64BE(0), BigInt(DATA.length));
  });

  it('EXPORT_NAME of nothing ends the connection, GO says why', async (t) => {
    const server = await nbd(t, exports());
    const one = await dial(t, server.port);
    await one.greet();
    one.socket.write(encodeNbdOption({ kind: 'export-name', name: 'none' }));
    assert.equal((await one.rest()).length, 0);
    const { refusal, asked, status } = await server.event('refused');
    assert.deepEqual([refusal.code, asked, status], ['absent', 'none', NBD_REFUSED.unknownExport]);
    const other = await dial(t, server.port);
    await other.greet();
    const [answer] = await other.ask({ kind: 'go', name: 'none', wants: [] });
    assert.deepEqual(answer, {
      kind: 'refused',
      type: NBD_REFUSED.unknownExport,
      message: 'There is no export of that name',
    });
    // The next try may succeed.
    await other.go('tree', false);
  });

  it('an export that may not be served is refused by its code, and by nothing of its paths', async (t) => {
    const refuses = new Refusal('drifted', 'The file /var/lib/secret changed.');
    const server = await nbd(t, memoryExports({ root: { data: DATA, refuses } }));
    const client = await dial(t, server.port);
    await client.greet();
    const [answer] = await client.ask({ kind: 'go', name: 'root', wants: [] });
    assert.ok(answer?.kind === 'refused' && answer.type === NBD_REFUSED.policy);
    assert.match(answer.message, /^drifted: /);
    assert.doesNotMatch(answer.message, /var/);
    assert.equal((await server.event('refused')).refusal, refuses);
    assert.deepEqual(server.errors, []);
  });

  it('a fault of an export is logged, and not told', async (t) => {
    const refuses = new Error('secret');
    const server = await nbd(t, memoryExports({ root: { data: DATA, refuses } }));
    const client = await dial(t, server.port);
    await client.greet();
    const [answer] = await client.ask({ kind: 'go', name: 'root', wants: [] });
    assert.ok(answer?.kind === 'refused' && !answer.message.includes('secret'));
    assert.equal(server.errors.length, 1);
  });

  for (const [name, option] of [
    ['STARTTLS', NBD_OPTION.startTls],
    ['LIST_META_CONTEXT', NBD_OPTION.listMetaContext],
    ['SET_META_CONTEXT', NBD_OPTION.setMetaContext],
    ['EXTENDED_HEADERS', NBD_OPTION.extendedHeaders],
    ['one that nobody knows', 0xffffffff],
  ] as const) {
    it(`option ${name} is answered UNSUP, its data is passed over, and the next one is read`, async (t) => {
      const client = await dial(t, (await nbd(t, exports())).port);
      await client.greet();
      client.socket.write(encodeNbdOptionFrame({ option, data: Buffer.alloc(500, 7) }));
      const [answer] = await client.answers(option);
      assert.equal(answer?.kind === 'refused' && answer.type, NBD_REFUSED.unsupported);
      assert.equal((await client.ask({ kind: 'list' })).length, 3);
    });
  }

  it('an option with odd data is answered INVALID, and the next one is read', async (t) => {
    const client = await dial(t, (await nbd(t, exports())).port);
    await client.greet();
    for (const option of [NBD_OPTION.list, NBD_OPTION.structuredReply, NBD_OPTION.go]) {
      client.socket.write(encodeNbdOptionFrame({ option, data: Buffer.alloc(3) }));
      const [answer] = await client.answers(option);
      assert.equal(answer?.kind === 'refused' && answer.type, NBD_REFUSED.invalid);
    }
    assert.equal((await client.ask({ kind: 'list' })).length, 3);
  });

  it('ABORT is acknowledged, then the connection ends', async (t) => {
    const server = await nbd(t, exports());
    const client = await dial(t, server.port);
    await client.greet();
    assert.deepEqual(await client.ask({ kind: 'abort' }), [{ kind: 'ack' }]);
    assert.equal((await client.rest()).length, 0);
    client.socket.destroy();
  });
});

for (const structured of [false, true]) {
  describe(`transmission, ${structured ? 'structured' : 'simple'} replies`, () => {
    it('reads of every size and place are those bytes', async (t) => {
      const server = await nbd(t, exports());
      const client = await transmitting(t, server.port, { structured });
      const end = DATA.length;
      for (const [offset, length] of [
        [0, 1],
        [end - 1, 1],
        [1, 4095],
        [4096, 4096],
        [4095, 2],
        [0, 65_536 - 28],
        [0, 65_536 - 16],
        [5, 65_536],
        [511, 262_144],
        [512, 262_145],
        [777, 1_048_577],
        [0, end],
      ] as const) {
        const { error, data } = await client.read(offset, length);
        assert.equal(error, 0);
        assert.ok(data.equals(DATA.subarray(offset, offset + length)), `${offset} ${length}`);
      }
      assert.equal(server.heldBytes, 0);
    });

    it('a read of nothing is a success without data', async (t) => {
      const client = await transmitting(t, (await nbd(t, exports())).port, { structured });
      for (const offset of [0, 5, DATA.length]) {
        assert.deepEqual(
          await client.read(offset, 0).then(({ error, data }) => [error, data.length]),
          [0, 0],
        );
      }
    });

    it('what cannot be read is an error, and the connection goes on', async (t) => {
      const client = await transmitting(t, (await nbd(t, exports())).port, { structured });
      const { invalid, overflow, permission } = NBD_ERROR;
      const { read, write, trim, writeZeroes, flush, cache, blockStatus, resize } = NBD_COMMAND;
      const size = DATA.length;
      for (const [what, request, error] of [
        ['the byte after the last', { command: read, offset: size, length: 1 }, invalid],
        ['one byte too many', { command: read, offset: size - 1, length: 2 }, invalid],
        ['nothing, beyond the end', { command: read, offset: size + 1, length: 0 }, invalid],
        ['far beyond', { command: read, offset: Number.MAX_SAFE_INTEGER, length: 0xffffffff }, invalid],
        ['4 GiB', { command: read, offset: 0, length: 0xffffffff }, invalid],
        ['a flag of WRITE', { command: read, offset: 0, length: 1, flags: NBD_COMMAND_FLAG.fua }, invalid],
        ['a flag of nobody', { command: read, offset: 0, length: 1, flags: 0x8000 }, invalid],
        ['TRIM', { command: trim, offset: 0, length: 4096 }, permission],
        ['WRITE_ZEROES of 4 GiB', { command: writeZeroes, offset: 0, length: 0xffffffff }, permission],
        ['FLUSH, which was not offered', { command: flush }, invalid],
        ['CACHE, which was not offered', { command: cache, length: 4096 }, invalid],
        ['BLOCK_STATUS', { command: blockStatus, length: 4096 }, invalid],
        ['RESIZE', { command: resize, length: 4096 }, invalid],
        ['an unknown command', { command: 0xffff }, invalid],
      ] as const) {
        client.request(request);
        const reply = await client.reply();
        assert.equal(reply.error, error, what);
        assert.equal(reply.message !== '', structured, what);
      }
      client.request({ flags: NBD_COMMAND_FLAG.df, length: 65_536 });
      const whole = await client.reply();
      assert.deepEqual([whole.error, whole.chunks], structured ? [0, 1] : [invalid, 0]);
      client.request({ flags: NBD_COMMAND_FLAG.df, length: 65_537 });
      assert.equal((await client.reply()).error, structured ? overflow : invalid);
      client.socket.write(client.requestBytes({ command: write, length: 100_000 }));
      client.socket.write(Buffer.alloc(100_000, 0x25));
      assert.equal((await client.reply()).error, permission);
      client.request({ command: write, length: 0 });
      assert.equal((await client.reply()).error, permission);
      assert.ok((await client.read(100, 100)).data.equals(DATA.subarray(100, 200)));
    });

    it('a read of more than 32 MiB is refused, one of 32 MiB is not', async (t) => {
      const data = Buffer.alloc(33 * MIB, 'x');
      const client = await transmitting(t, (await nbd(t, memoryExports({ big: { data } }))).port, {
        structured,
      });
      const { error } = await client.read(0, 32 * MIB + 1);
      assert.equal(error, structured ? NBD_ERROR.overflow : NBD_ERROR.invalid);
      const { data: heard, chunks } = await client.read(MIB, 32 * MIB);
      assert.ok(heard.equals(data.subarray(0, 32 * MIB)));
      assert.ok(!structured || chunks > 1);
    });

    it('thousands of requests at once are all answered, each under its cookie', async (t) => {
      const server = await nbd(t, exports(), { maxRequests: 100, maxConnectionBytes: 256 * 1024 });
      const client = await transmitting(t, server.port, { structured });
      const asked = new Map<bigint, readonly [number, number]>();
      const bytes: Buffer[] = [];
      for (let index = 0; index < 3000; index += 1) {
        const place = [
          (index * 7919) % 3_000_000,
          index % 50 === 0 ? 100_000 : 1 + ((index * 31) % 5000),
        ] as const;
        const request = client.requestBytes({ offset: place[0], length: place[1] });
        bytes.push(request);
        asked.set(request.readBigUInt64BE(8), place);
      }
      client.socket.write(Buffer.concat(bytes));
      for (let left = bytes.length; left > 0; left -= 1) {
        const { cookie, data, error } = await client.reply();
        const [offset, length] = asked.get(cookie) ?? [0, 0];
        assert.ok(asked.delete(cookie));
        assert.ok(error === 0 && data.equals(DATA.subarray(offset, offset + length)));
      }
      assert.equal(server.heldBytes, 0);
    });

    it('a reply overtakes one whose read takes longer', async (t) => {
      let release: () => void = () => {};
      const slow = new Promise<void>((resolve) => {
        release = resolve;
      });
      const before = (position: number): Promise<void> | void => (position === 0 ? slow : undefined);
      const server = await nbd(t, memoryExports({ root: { data: DATA, before } }));
      const client = await transmitting(t, server.port, { structured });
      const first = client.request({ offset: 0, length: 600_000 });
      const second = client.request({ offset: 700_000, length: 10 });
      assert.equal((await client.reply()).cookie, second);
      release();
      const reply = await client.reply();
      assert.equal(reply.cookie, first);
      assert.ok(reply.data.equals(DATA.subarray(0, 600_000)));
    });

    it('DISC waits for what is under way, and ends the connection', async (t) => {
      const server = await nbd(t, exports());
      const client = await transmitting(t, server.port, { structured });
      const asked = [client.requestBytes({ length: 2 * MIB }), client.requestBytes({ length: 9 })];
      client.socket.write(
        Buffer.concat([...asked, client.requestBytes({ command: NBD_COMMAND.disconnect })]),
      );
      const lengths = [(await client.reply()).data.length, (await client.reply()).data.length];
      assert.deepEqual(lengths.sort(), [2 * MIB, 9]);
      assert.equal((await client.rest()).length, 0);
      client.socket.destroy();
      const { outcome, requests, bytes } = await server.event('ended');
      assert.deepEqual([outcome, requests, bytes], ['complete', 2, 2 * MIB + 9]);
    });

    it('a client that half-closes gets its replies', async (t) => {
      const tested = exports();
      const server = await nbd(t, tested);
      const client = await transmitting(t, server.port, { structured });
      client.request({ length: 2 * MIB });
      client.socket.end();
      assert.ok((await client.reply()).data.equals(DATA.subarray(0, 2 * MIB)));
      assert.equal((await server.event('ended')).outcome, 'client-gone');
      assert.equal(tested.opened, 0);
    });
  });
}

describe('many clients', () => {
  it('read the same export at once', async (t) => {
    const server = await nbd(t, exports(), { bufferBytes: MIB });
    await Promise.all(
      Array.from({ length: 16 }, async (_, index) => {
        const client = await transmitting(t, server.port, { structured: index % 2 === 0 });
        for (const offset of [0, index, 100_000 * index]) client.request({ offset, length: MIB });
        for (let count = 0; count < 3; count += 1) assert.equal((await client.reply()).error, 0);
      }),
    );
    assert.equal(server.heldBytes, 0);
  });
});
