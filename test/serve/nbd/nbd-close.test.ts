import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { NBD_ERROR } from '../../../src/formats/net/nbd.ts';
import { content, dial, type MemoryExports, memoryExports, nbd, transmitting } from './nbd-harness.ts';

const DATA = content(2_000_000);

/** An export whose reads wait until they are released. */
function slowExports(isSlow: (position: number) => boolean = () => true): {
  exports: MemoryExports;
  entered: Promise<void>;
  release: () => void;
} {
  let enter: () => void = () => {};
  let release: () => void = () => {};
  const entered = new Promise<void>((resolve) => {
    enter = resolve;
  });
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const before = async (position: number): Promise<void> => {
    if (!isSlow(position)) return;
    enter();
    await released;
  };
  return { exports: memoryExports({ root: { data: DATA, before } }), entered, release };
}

for (const structured of [false, true]) {
  const how = structured ? 'structured' : 'simple';

  test(`close lets a read finish, answers ESHUTDOWN from then on, and drops idle clients at once, ${how}`, async (t) => {
    const { exports, entered, release } = slowExports();
    const server = await nbd(t, exports);
    const idle = await transmitting(t, server.port, { structured });
    const silent = await dial(t, server.port);
    const busy = await transmitting(t, server.port, { structured });
    const before = busy.request({ length: 600_000 });
    await entered;
    const closing = server.close({ graceMs: 60_000 });
    await Promise.all([idle.rest(), silent.rest()]);
    for (const client of [idle, silent]) client.socket.destroy();
    const after = busy.request({ length: 10 });
    const refused = await busy.reply();
    assert.deepEqual([refused.cookie, refused.error], [after, NBD_ERROR.shutdown]);
    release();
    const reply = await busy.reply();
    assert.equal(reply.cookie, before);
    assert.ok(reply.data.equals(DATA.subarray(0, 600_000)));
    assert.equal((await busy.rest()).length, 0);
    busy.socket.destroy();
    await closing;
    assert.equal(exports.opened, 0);
    assert.equal(server.heldBytes, 0);
    await assert.rejects(dial(t, server.port));
  });
}

test('close ends what is still under way after the grace', async (t) => {
  const { exports, entered, release } = slowExports();
  const server = await nbd(t, exports);
  const busy = await transmitting(t, server.port);
  busy.request({ length: 10 });
  await entered;
  const closing = server.close({ graceMs: 1 });
  assert.equal((await busy.rest()).length, 0);
  // The export is closed when its read has ended, not before.
  assert.equal(exports.opened, 1);
  release();
  await closing;
  assert.equal(exports.opened, 0);
  assert.equal((await server.event('ended')).outcome, 'closed');
});

test('closing twice is closing once', async (t) => {
  const server = await nbd(t, memoryExports({ root: { data: DATA } }));
  await Promise.all([server.close({ graceMs: 0 }), server.close({ graceMs: 0 })]);
});

test('a read that fails is an error at its place (structured) or, once its reply has begun, the end (simple)', async (t) => {
  const before = (position: number): void => {
    if (position >= 262_144) throw new Refusal('drifted', 'The disk is gone.');
  };
  const server = await nbd(t, memoryExports({ root: { data: DATA, before } }));
  const structured = await transmitting(t, server.port, { structured: true });
  const broken = await structured.read(0, 1_000_000);
  assert.equal(broken.error, NBD_ERROR.io);
  assert.match(broken.message, /^drifted: /);
  assert.equal((await structured.read(300_000, 10)).error, NBD_ERROR.io);
  assert.ok((await structured.read(0, 10)).data.equals(DATA.subarray(0, 10)));

  const simple = await transmitting(t, server.port);
  assert.equal((await simple.read(300_000, 10)).error, NBD_ERROR.io);
  assert.equal((await simple.read(300_000, 700_000)).error, NBD_ERROR.io);
  assert.ok((await simple.read(0, 10)).data.equals(DATA.subarray(0, 10)));
  simple.request({ length: 1_000_000 });
  const ended = await simple.reply().then(
    ({ error }) => error,
    () => 'ended',
  );
  assert.ok(ended === 'ended' || ended === NBD_ERROR.io);
  structured.socket.destroy();
  await server.event('ended', ({ id }) => id === 1);
  const failed = server.events.filter(({ kind }) => kind === 'refused');
  assert.equal(failed.length, 2, 'one event for each connection');
  assert.equal(server.heldBytes, 0);
  assert.deepEqual(server.errors, []);
});

for (const structured of [false, true]) {
  test(`nothing leaves after a check that failed, ${structured ? 'structured' : 'simple'}`, async (t) => {
    let drifted = false;
    const check = (): void => {
      if (drifted) throw new Refusal('drifted', 'The file changed.');
    };
    const server = await nbd(t, memoryExports({ root: { data: DATA, check } }));
    const client = await transmitting(t, server.port, { structured });
    assert.equal((await client.read(0, 10)).error, 0);
    drifted = true;
    for (const length of [10, 1_000_000]) {
      const { error } = await client.read(0, length);
      assert.equal(error, NBD_ERROR.io);
    }
    client.request({ length: 20 });
    client.request({ offset: DATA.length, length: 1 });
    const errors = [(await client.reply()).error, (await client.reply()).error];
    assert.deepEqual(new Set(errors), new Set([NBD_ERROR.io, NBD_ERROR.invalid]));
    assert.equal(server.heldBytes, 0);
  });
}

test('what was read of a reply whose beginning is still awaited goes when its client goes', async (t) => {
  const { exports, entered, release } = slowExports((position) => position === 0);
  const server = await nbd(t, exports);
  const client = await transmitting(t, server.port);
  client.request({ length: 600_000 });
  await entered;
  client.socket.resetAndDestroy();
  // The server has seen that by the time it has answered someone else.
  const other = await transmitting(t, server.port);
  assert.equal((await other.read(5, 5)).error, 0);
  release();
  await server.event('ended');
  other.socket.destroy();
  await server.event('ended', ({ id }) => id === 2);
  assert.equal(server.heldBytes, 0);
  assert.equal(exports.opened, 0);
});

for (const structured of [false, true]) {
  test(`an error ends its reply, whatever is read of it later, ${structured ? 'structured' : 'simple'}`, async (t) => {
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const before = async (position: number): Promise<void> => {
      if (position === 262_144) throw new Refusal('drifted', 'The disk is gone.');
      if (position > 0) await released;
    };
    const server = await nbd(t, memoryExports({ root: { data: DATA, before } }));
    const client = await transmitting(t, server.port, { structured });
    const asked = client.request({ offset: 262_144, length: 800_000 });
    const failed = await client.reply();
    assert.deepEqual([failed.cookie, failed.error], [asked, NBD_ERROR.io]);
    release();
    assert.ok((await client.read(0, 10)).data.equals(DATA.subarray(0, 10)));
    assert.equal(server.heldBytes, 0);
  });
}

test('no more requests are answered at a time than the bound allows', async (t) => {
  let reads = 0;
  const { exports, entered, release } = slowExports(() => {
    reads += 1;
    return true;
  });
  const server = await nbd(t, exports, { maxRequests: 3 });
  const client = await transmitting(t, server.port);
  client.socket.write(Buffer.concat(Array.from({ length: 10 }, () => client.requestBytes({ length: 10 }))));
  await entered;
  assert.equal(reads, 3);
  release();
  for (let count = 0; count < 10; count += 1) assert.equal((await client.reply()).error, 0);
});

test('a fault of an export is EIO, a line in the log, and nothing more', async (t) => {
  const before = (): void => {
    throw new Error('secret');
  };
  const server = await nbd(t, memoryExports({ root: { data: DATA, before } }));
  const client = await transmitting(t, server.port, { structured: true });
  const { error, message } = await client.read(0, 10);
  assert.equal(error, NBD_ERROR.io);
  assert.doesNotMatch(message, /secret/);
  assert.equal(server.errors.length, 1);
});
