import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { Shares } from '../../../src/serve/shares.ts';
import { memorySite, type TestSite } from '../sites.ts';
import { ack, fetchFile, type Raw, type Running, rawSocket, rrq, tftp } from './tftp-harness.ts';

const DATA = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 31 + (index >> 8)) & 0xff));
/** Long enough that no retransmission happens by itself. */
const PATIENT = { retransmitMs: 60_000 };
/** Short enough that a test need not wait for one. */
const HASTY = { retransmitMs: 20 };

const site = (): TestSite =>
  memorySite({
    '/undionly.kpxe': DATA,
    '/boot/grub.cfg': DATA.subarray(0, 1024),
    '/empty': '',
    '/drifted': { data: DATA, drifts: true },
    '/refused': { data: DATA, refuses: true },
  });

/** The answer to one datagram. */
async function answer(raw: Raw, port: number, what: Parameters<Raw['say']>[0]): Promise<string> {
  raw.say(what, port);
  const { packet } = await raw.hear();
  switch (packet.kind) {
    case 'error':
      return `ERROR ${packet.code}`;
    case 'oack':
      return `OACK ${[...packet.options].map(([name, value]) => `${name}=${value}`).join(' ')}`;
    case 'data':
      return `DATA ${packet.block} ${packet.data.length}`;
    default:
      return packet.kind;
  }
}

const pair = async (t: TestContext, limits = {}, singlePort = false): Promise<[Running, Raw, TestSite]> => {
  const served = site();
  return [await tftp(t, served, { limits, singlePort }), await rawSocket(t), served];
};

for (const singlePort of [false, true]) {
  const how = singlePort ? 'single port' : 'own ports';

  test(`whole files, ${how}: plain, blocks, windows, empty, a multiple of the block`, async (t) => {
    const served = site();
    const server = await tftp(t, served, { singlePort, limits: PATIENT });
    for (const options of [
      {},
      { blksize: '8' },
      { blksize: '1468', tsize: '0' },
      { blksize: '1000', windowsize: '16' },
      { windowsize: '3', timeout: '9', tsize: '0' },
    ]) {
      const got = await fetchFile(t, server.port, 'undionly.kpxe', { options });
      assert.ok(got.data.equals(DATA), JSON.stringify(options));
      assert.deepEqual(got.options, 'tsize' in options ? { ...options, tsize: '100000' } : options);
    }
    assert.equal((await fetchFile(t, server.port, '/empty')).data.length, 0);
    const exact = await fetchFile(t, server.port, '/boot/grub.cfg', { options: { blksize: '512' } });
    assert.deepEqual([exact.data.length, exact.arrivals], [1024, 3]);
    await served.allClosed();
    assert.deepEqual([server.heldBytes, server.transfers, server.errors], [0, 0, []]);
    assert.equal(
      server.events.filter((event) => event.kind === 'ended' && event.outcome === 'complete').length,
      7,
    );
  });

  test(`lost blocks, ${how}: one DATA packet in n, lock-step and windows`, async (t) => {
    const server = await tftp(t, site(), { singlePort, limits: { ...HASTY, maxRetries: 50 } });
    for (const [windowsize, n] of [
      [1, 5],
      [4, 3],
      [16, 7],
      [64, 23],
    ] as const) {
      const got = await fetchFile(t, server.port, 'undionly.kpxe', {
        options: { blksize: '1468', windowsize: String(windowsize) },
        // Scattered, yet the same in each run: a strict period could lose the first block of a window for ever.
        loses: (arrival) => Math.imul(arrival, 0x9e3779b1) >>> 0 < 2 ** 32 / n,
      });
      assert.ok(got.data.equals(DATA), `window ${windowsize}, one in ${n} lost`);
    }
  });

  test(`duplicate ACKs make nothing leave, ${how} (the Sorcerer's Apprentice)`, async (t) => {
    const server = await tftp(t, site(), { singlePort, limits: PATIENT });
    for (const windowsize of ['1', '4']) {
      const options = { blksize: '1000', windowsize };
      const got = await fetchFile(t, server.port, 'undionly.kpxe', { options, repeats: 3 });
      assert.ok(got.data.equals(DATA));
      assert.equal(got.arrivals, 101);
    }
  });

  test(`an ACK from the future, the past, or of the wrong length is ignored, ${how}`, async (t) => {
    const [server, raw] = await pair(t, PATIENT, singlePort);
    raw.say(rrq('undionly.kpxe', { windowsize: '2' }), server.port);
    const { port } = (await raw.hear()).from;
    raw.say(ack(1), port);
    raw.say(ack(0), port);
    assert.equal((await raw.hear()).packet.kind, 'data');
    assert.equal((await raw.hear()).packet.kind, 'data');
    for (const block of [3, 4, 100, 32768, 65535, 0]) raw.say(ack(block), port);
    raw.say(Buffer.from([0, 4, 0, 2, 0]), port);
    raw.say(Buffer.from([0, 4, 0]), port);
    raw.say(ack(2), port);
    const { packet } = await raw.hear();
    assert.equal(packet.kind === 'data' && packet.block, 3);
    // The other block of the window, and then nothing that the wrong ACKs would have brought.
    const next = (await raw.hear()).packet;
    assert.equal(next.kind === 'data' && next.block, 4);
    assert.equal(raw.unheard, 0);
  });

  test(`an unacknowledged block leaves again, until the limit, ${how}`, async (t) => {
    const [server, raw] = await pair(t, { retransmitMs: 5, maxRetries: 3 }, singlePort);
    raw.say(rrq('undionly.kpxe'), server.port);
    const first = await raw.hear();
    raw.say(ack(1), first.from.port);
    const seen: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      const { packet } = await raw.hear();
      seen.push(packet.kind === 'data' ? `${packet.block}` : packet.kind);
    }
    assert.deepEqual(seen, ['2', '2', '2', '2', 'error']);
    const { outcome, bytes, retransmissions, asked } = await server.event('ended');
    assert.deepEqual([outcome, bytes, retransmissions, asked], ['stalled', 512, 3, 'undionly.kpxe']);
  });

  test(`before the first ACK each request brings one datagram and no more, ${how}`, async (t) => {
    const served = site();
    const server = await tftp(t, served, { singlePort, limits: { retransmitMs: 1, handshakeMs: 100 } });
    for (const options of [{}, { blksize: '1468', windowsize: '64', tsize: '0' }]) {
      const raw = await rawSocket(t);
      const heard: Buffer[] = [];
      // Whoever asks again is answered again, with the same.
      for (let time = 0; time < 4; time += 1) {
        raw.say(rrq('undionly.kpxe', options), server.port);
        heard.push((await raw.hear()).bytes);
      }
      for (const bytes of heard) assert.ok(bytes.equals(heard[0] as Buffer));
      const end = await server.event('ended', ({ port }) => port === raw.port);
      assert.deepEqual([end.outcome, end.retransmissions, end.bytes], ['timeout', 3, 0]);
      // What is answered to this comes after all that came by itself: nothing.
      raw.say(ack(7), server.port);
      const { packet } = await raw.hear();
      assert.equal(packet.kind === 'error' && packet.code, 5);
      assert.equal(raw.unheard, 0);
    }
    // The file of the request with options was never opened.
    assert.equal(served.trace.opened, 1);
  });

  test(`a first answer that is lost is asked for again, ${how}; then the server's timer repeats`, async (t) => {
    const [server, raw] = await pair(t, { retransmitMs: 5, maxRetries: 2 }, singlePort);
    for (const options of [{}, { blksize: '600' }]) {
      raw.say(rrq('undionly.kpxe', options), server.port);
      await raw.hear();
      raw.say(rrq('undionly.kpxe', options), server.port);
      const { packet, from } = await raw.hear();
      raw.say(ack(packet.kind === 'oack' ? 0 : 1), from.port);
      const seen: string[] = [];
      while (seen.at(-1) !== 'error') {
        const next = (await raw.hear()).packet;
        seen.push(next.kind === 'data' ? String(next.block) : next.kind);
      }
      const block = packet.kind === 'oack' ? '1' : '2';
      assert.deepEqual(seen, [block, block, block, 'error']);
    }
  });
}

test('a client that was only slow is given time: its next retransmission comes after that of a quick one', async (t) => {
  const [server, slow] = await pair(t, { retransmitMs: 20, maxRetries: 50 });
  // The client names the time (RFC 2349): but for the haste of the first, nothing would be sent again in a test's life.
  const options = { timeout: '255' };
  const begun = async (raw: Raw): Promise<number> => {
    raw.say(rrq('undionly.kpxe', options), server.port);
    const { port } = (await raw.hear()).from;
    raw.say(ack(0), port);
    return port;
  };
  const number = async (raw: Raw) => {
    const { packet } = await raw.hear();
    return packet.kind === 'data' ? packet.block : packet.kind;
  };
  const slowPort = await begun(slow);
  for (let block = 1; block <= 7; block += 1) {
    // It answers both of what left twice.
    assert.deepEqual([await number(slow), await number(slow)], [block, block]);
    for (let time = 0; time < 2; time += 1) slow.say(ack(block), slowPort);
  }
  assert.equal(await number(slow), 8);
  const quick = await rawSocket(t);
  await begun(quick);
  assert.deepEqual([await number(quick), await number(quick)], [1, 1]);
  assert.equal(slow.unheard, 0);
  assert.equal(await number(slow), 8);
});

test('the port of a long transfer takes nothing of strangers, who are turned away by the kernel', async (t) => {
  const [server, raw] = await pair(t, PATIENT);
  raw.say(rrq('undionly.kpxe', { blksize: '512' }), server.port);
  const { port } = (await raw.hear()).from;
  const stranger = createSocket('udp4');
  t.after(() => stranger.close());
  const refused = once(stranger, 'error');
  for (let block = 0; block < 100; block += 1) {
    raw.say(ack(block), port);
    await raw.hear();
  }
  // What a connected socket is told: nobody is there for it.
  await new Promise<void>((resolve) => stranger.connect(port, '127.0.0.1', resolve));
  stranger.send(Buffer.from([0, 5, 0, 0, 0]));
  const [error] = (await refused) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
  raw.say(ack(100), port);
  const { packet } = await raw.hear();
  assert.equal(packet.kind === 'data' && packet.block, 101);
  assert.ok(server.events.every(({ kind }) => kind !== 'turned-away'));
});

test('a transfer has its own port, and one address', async (t) => {
  const [server, raw] = await pair(t, PATIENT);
  raw.say(rrq('undionly.kpxe'), server.port);
  const { from } = await raw.hear();
  assert.equal(from.address, '127.0.0.1');
  assert.notEqual(from.port, server.port);
});

test('IPv6 works, and its blocks fit its frames', async (t) => {
  const server = await tftp(t, site(), { bind: '::1', limits: PATIENT });
  const raw = await rawSocket(t, '::1');
  assert.equal(await answer(raw, server.port, rrq('empty', { blksize: '1468' })), 'OACK blksize=1448');
});

test('the block number rolls over from 65535 to 0', async (t) => {
  const data = Buffer.alloc(65_540 * 8 + 3);
  for (let at = 0; at + 4 <= data.length; at += 4) data.writeUInt32BE(at, at);
  const server = await tftp(t, memorySite({ '/large': data }), { limits: PATIENT });
  for (const windowsize of ['1', '50']) {
    const got = await fetchFile(t, server.port, 'large', { options: { blksize: '8', windowsize } });
    assert.ok(got.data.equals(data));
    assert.equal(got.arrivals, 65_541);
  }
});

test('what requests are answered with', async (t) => {
  const [server, , served] = await pair(t, PATIENT);
  for (const [request, expected] of [
    [rrq('absent'), 'ERROR 1'],
    [rrq('drifted'), 'DATA 1 512'],
    [rrq('refused'), 'ERROR 0'],
    [{ ...rrq('empty'), mode: 'netascii' }, 'ERROR 0'],
    [{ ...rrq('empty'), mode: 'mail' }, 'ERROR 0'],
    [{ ...rrq('undionly.kpxe'), kind: 'wrq' }, 'ERROR 2'],
    [rrq('/undionly.kpxe'), 'DATA 1 512'],
    [rrq('//boot//grub.cfg'), 'DATA 1 512'],
    [rrq('boot\\grub.cfg'), 'ERROR 2'],
    [rrq('../etc/passwd'), 'ERROR 2'],
    [rrq('/boot/../undionly.kpxe'), 'ERROR 2'],
    [rrq('./undionly.kpxe'), 'ERROR 2'],
    [rrq('%75ndionly.kpxe'), 'ERROR 2'],
    [rrq('boot/'), 'ERROR 2'],
    [rrq('/'), 'ERROR 2'],
    [rrq('undionly.kpxe', { blksize: '0' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { blksize: '7' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { blksize: '8' }), 'OACK blksize=8'],
    [rrq('undionly.kpxe', { blksize: '65464' }), 'OACK blksize=1468'],
    [rrq('undionly.kpxe', { blksize: '65465' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { blksize: '0x400' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { tsize: '' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { tsize: 'many' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { tsize: '5' }), 'OACK tsize=100000'],
    [rrq('undionly.kpxe', { windowsize: '0' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { windowsize: '65536' }), 'ERROR 8'],
    [rrq('undionly.kpxe', { windowsize: '65535' }), 'OACK windowsize=64'],
    [rrq('undionly.kpxe', { timeout: '255' }), 'OACK timeout=255'],
    [rrq('undionly.kpxe', { timeout: '0', tsize: '0' }), 'OACK tsize=100000'],
    // As node-tftp asks: milliseconds, and an option that no RFC knows.
    [rrq('undionly.kpxe', { timeout: '3000', rollover: '0' }), 'DATA 1 512'],
    [rrq('undionly.kpxe', { multicast: '', blksize: '1432' }), 'OACK blksize=1432'],
    [rrq('absent', { blksize: '7' }), 'ERROR 1'],
  ] as const) {
    const raw = await rawSocket(t);
    const got = await answer(raw, server.port, request);
    assert.equal(got, expected, JSON.stringify({ ...request, options: [...request.options] }));
    raw.close();
  }
  assert.ok(served.trace.found.every((path) => /^\/[a-z./]+$/.test(path) && !path.includes('..')));
});

test('a window of large blocks is shortened to what may be held', async (t) => {
  const [server, raw] = await pair(t, { ...PATIENT, maxBlksize: 65464, maxWindowBytes: 200_000 });
  const options = { blksize: '65464', windowsize: '64' };
  assert.equal(
    await answer(raw, server.port, rrq('undionly.kpxe', options)),
    'OACK blksize=65464 windowsize=3',
  );
});

test('a file that drifted never gets its last block', async (t) => {
  const [server, raw, served] = await pair(t, PATIENT);
  raw.say(rrq('drifted', { blksize: '1000' }), server.port);
  let bytes = 0;
  for (;;) {
    const { packet, from } = await raw.hear();
    if (packet.kind === 'error') {
      assert.equal(packet.code, 0);
      assert.match(packet.message, /^drifted: /);
      break;
    }
    if (packet.kind === 'data') bytes += packet.data.length;
    raw.say(ack(packet.kind === 'data' ? packet.block : 0), from.port);
  }
  assert.equal(bytes, DATA.length);
  assert.equal((await server.event('ended')).outcome, 'refused');
  assert.equal((await server.event('refused')).refusal.code, 'drifted');
  await served.allClosed();
});

test('a ROM that asks for tsize and breaks off opens nothing and is no fault', async (t) => {
  const [server, raw, served] = await pair(t, PATIENT);
  raw.say(rrq('undionly.kpxe', { tsize: '0', blksize: '1456' }), server.port);
  const { from } = await raw.hear();
  raw.say({ kind: 'error', code: 8, message: 'User aborted the transfer' }, from.port);
  const end = await server.event('ended');
  assert.deepEqual([end.outcome, end.said], ['probe', '8 User aborted the transfer']);
  assert.equal(served.trace.opened, 0);
  // It asks again from the same port.
  assert.equal(
    await answer(raw, server.port, rrq('undionly.kpxe', { blksize: '1456' })),
    'OACK blksize=1456',
  );
});

test('an ERROR in the middle ends the transfer, even without its NUL', async (t) => {
  const [server, raw, served] = await pair(t, PATIENT);
  raw.say(rrq('undionly.kpxe'), server.port);
  const { from } = await raw.hear();
  raw.say(ack(1), from.port);
  await raw.hear();
  raw.say(Buffer.from('\0\x05\0\0no', 'latin1'), from.port);
  const end = await server.event('ended');
  assert.deepEqual([end.outcome, end.bytes], ['client-gone', 512]);
  await served.allClosed();
  assert.equal(server.heldBytes, 0);
});

test('single port: a client that asks anew from its port gets the new file', async (t) => {
  const [server, raw] = await pair(t, PATIENT, true);
  assert.equal(await answer(raw, server.port, rrq('undionly.kpxe')), 'DATA 1 512');
  assert.equal(await answer(raw, server.port, ack(1)), 'DATA 2 512');
  assert.equal(await answer(raw, server.port, rrq('empty')), 'DATA 1 0');
  assert.equal((await server.event('ended')).outcome, 'replaced');
});

test('close lets a running transfer finish and takes no more', async (t) => {
  for (const singlePort of [false, true]) {
    const [server, raw, served] = await pair(t, PATIENT, singlePort);
    raw.say(rrq('/boot/grub.cfg'), server.port);
    const { from } = await raw.hear();
    const closed = server.close({ graceMs: 60_000 });
    if (singlePort) {
      const late = await rawSocket(t);
      assert.equal(await answer(late, server.port, rrq('/empty')), 'ERROR 0');
    }
    assert.equal(await answer(raw, from.port, ack(1)), 'DATA 2 512');
    assert.equal(await answer(raw, from.port, ack(2)), 'DATA 3 0');
    raw.say(ack(3), from.port);
    await closed;
    assert.equal((await server.event('ended')).outcome, 'complete');
    assert.equal(served.trace.opened, served.trace.closed);
  }
});

test('close after its grace ends transfers with ERROR', async (t) => {
  const [server, raw, served] = await pair(t, PATIENT);
  raw.say(rrq('undionly.kpxe'), server.port);
  raw.say(ack(1), (await raw.hear()).from.port);
  await raw.hear();
  // Who has not answered gets no datagram more.
  const unanswered = await rawSocket(t);
  unanswered.say(rrq('undionly.kpxe'), server.port);
  await unanswered.hear();
  await Promise.all([server.close({ graceMs: 5 }), server.close({ graceMs: 60_000 })]);
  const { packet } = await raw.hear();
  assert.equal(packet.kind === 'error' && packet.message, 'The server is closing');
  assert.equal(unanswered.unheard, 0);
  assert.equal((await server.event('ended')).outcome, 'closed');
  assert.equal(served.trace.opened, served.trace.closed);
});

test('a port that is taken, and an address that is none, are ListenErrors', async (t) => {
  const [server] = await pair(t);
  const options = { site: site(), shares: new Shares(), emit: () => {} };
  const { startTftpServer } = await import('../../../src/serve/tftp/tftp.ts');
  await assert.rejects(startTftpServer({ ...options, bind: '127.0.0.1', port: server.port }), {
    name: 'ListenError',
    code: 'EADDRINUSE',
  });
  await assert.rejects(startTftpServer({ ...options, bind: 'localhost', port: 0 }), { code: 'EINVAL' });
});
