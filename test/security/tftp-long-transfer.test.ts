import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { open, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openRegular } from '../../src/files/measure.ts';
import { fileResource } from '../../src/release/file-resource.ts';
import type { Site } from '../../src/release/site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { ack, fetchFile, type Raw, type Running, rawSocket, rrq, tftp } from '../serve/tftp/tftp-harness.ts';

/** What is done to a transfer after its socket was connected to its client. */

const folder = await temporaryFolder();
const DATA = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
const PATIENT = { retransmitMs: 60_000 };
/** Datagrams of a transfer, by which its socket is connected. */
const SETTLED = 70;
let count = 0;

/** A server of one file on disk. */
async function offered(t: TestContext, limits = {}): Promise<{ server: Running; path: string }> {
  count += 1;
  const path = join(folder, `file-${count}`);
  await writeFile(path, DATA);
  const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
  await utimes(path, whole, whole);
  const { handle, identity } = await openRegular(path);
  await handle.close();
  const sha256 = createHash('sha256').update(DATA).digest('hex');
  const resource = fileResource({ path, name: 'file', size: DATA.length, sha256, identity });
  const site: Site = { find: async () => resource };
  return { server: await tftp(t, site, { limits: { ...PATIENT, ...limits } }), path };
}

/** A client that has so many blocks. */
async function settled(t: TestContext, server: Running): Promise<{ raw: Raw; port: number }> {
  const raw = await rawSocket(t);
  raw.say(rrq('file', { blksize: '512' }), server.port);
  let { port } = (await raw.hear()).from;
  for (let block = 0; block < SETTLED; block += 1) {
    raw.say(ack(block), port);
    ({ port } = (await raw.hear()).from);
  }
  return { raw, port };
}

async function stillServes(t: TestContext, server: Running): Promise<void> {
  const { data } = await fetchFile(t, server.port, 'file', { options: { blksize: '1428' } });
  assert.ok(data.equals(DATA));
  assert.deepEqual(server.errors, []);
}

const CHANGES: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  'written to': (path) => writeFile(path, Buffer.alloc(DATA.length, 'x')),
  'written to, and its times put back': async (path) => {
    const { atime, mtime } = await stat(path);
    const handle = await open(path, 'r+');
    await handle.write('X', DATA.length - 100);
    await handle.close();
    await utimes(path, atime, mtime);
  },
  'made longer': (path) => writeFile(path, Buffer.concat([DATA, DATA])),
};

describe('a file that is changed in the middle of a long transfer never gets its last block', () => {
  for (const [what, change] of Object.entries(CHANGES))
    it(what, async (t) => {
      const { server, path } = await offered(t);
      const { raw, port } = await settled(t, server);
      await change(path);
      let bytes = SETTLED * 512;
      for (let block = SETTLED; ; block += 1) {
        raw.say(ack(block), port);
        const { packet } = await raw.hear();
        if (packet.kind === 'error') {
          assert.match(packet.message, /^drifted: /);
          break;
        }
        assert.ok(packet.kind === 'data' && packet.data.length === 512, 'the last block came');
        bytes += packet.data.length;
      }
      assert.ok(bytes < DATA.length);
      assert.equal((await server.event('ended')).outcome, 'refused');
      assert.equal((await server.event('refused')).refusal.code, 'drifted');
      await assert.rejects(fetchFile(t, server.port, 'file'), /drifted/);
    });

  it('one in whose place another of the same size and times was put goes on from its descriptor, for who had begun alone', async (t) => {
    const { server, path } = await offered(t);
    const { raw, port } = await settled(t, server);
    const { atime, mtime } = await stat(path);
    await writeFile(`${path}.new`, Buffer.alloc(DATA.length, 'x'));
    await rename(`${path}.new`, path);
    await utimes(path, atime, mtime);
    raw.say(ack(SETTLED), port);
    const { packet } = await raw.hear();
    assert.ok(
      packet.kind === 'data' && DATA.subarray(SETTLED * 512, (SETTLED + 1) * 512).equals(packet.data),
    );
    await assert.rejects(fetchFile(t, server.port, 'file'), /drifted/);
    await rm(path);
    await assert.rejects(fetchFile(t, server.port, 'file'), /drifted/);
  });
});

it('runts in a long transfer are passed over, an opcode out of place ends it', async (t) => {
  const { server } = await offered(t);
  for (const bad of [Buffer.from([0, 9, 0, 0]), Buffer.from([0, 3, 0, 1, 65]), Buffer.from('\0\x06a\0b\0')]) {
    const { raw, port } = await settled(t, server);
    for (const runt of [[], [0], [0, 4], [0, 4, 0], [1, 2, 3]]) raw.say(Buffer.from(runt), port);
    // Of the past, and of blocks that never left.
    for (const block of [0, SETTLED - 1, SETTLED + 5, 65_535]) raw.say(ack(block), port);
    raw.say(ack(SETTLED), port);
    const { packet } = await raw.hear();
    assert.equal(packet.kind === 'data' && packet.block, SETTLED + 1);
    raw.say(bad, port);
    const last = (await raw.hear()).packet;
    assert.equal(last.kind === 'error' && last.code, 4);
    assert.equal(raw.unheard, 0);
  }
  await stillServes(t, server);
});

it('a stranger cannot end a long transfer, nor move it', async (t) => {
  const { server } = await offered(t);
  const { raw, port } = await settled(t, server);
  const stranger = await rawSocket(t, '127.0.0.1');
  for (const bytes of [{ kind: 'error', code: 0, message: 'die' }, ack(SETTLED), rrq('file')] as const)
    stranger.say(bytes, port);
  raw.say(ack(SETTLED), port);
  const { packet } = await raw.hear();
  assert.equal(packet.kind === 'data' && packet.block, SETTLED + 1);
  assert.deepEqual([raw.unheard, stranger.unheard, server.transfers], [0, 0, 1]);
  await stillServes(t, server);
});

it('a client whose port is closed in the middle costs nothing more once its time is over', async (t) => {
  const before = (await readdir('/proc/self/fd')).length;
  const { server } = await offered(t, { retransmitMs: 20, maxRetries: 4 });
  for (let client = 0; client < 10; client += 1) {
    const { raw, port } = await settled(t, server);
    raw.say(ack(SETTLED), port);
    // What is sent from now on comes back as ECONNREFUSED.
    raw.close();
    const { outcome } = await server.event('ended', (event) => event.port === raw.port);
    assert.equal(outcome, 'stalled');
  }
  assert.equal(server.transfers, 0);
  await stillServes(t, server);
  await server.close({ graceMs: 0 });
  assert.ok((await readdir('/proc/self/fd')).length <= before);
});
