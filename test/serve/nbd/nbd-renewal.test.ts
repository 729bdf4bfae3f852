import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { NBD_ERROR } from '../../../src/formats/net/nbd.ts';
import { content, dial, memoryExports, nbd } from './nbd-harness.ts';

/** What was read, and then turned out to be of a file that may have changed, is read once more before it leaves. */

const SIZE = 1_000_000;
const CHANGED = Buffer.alloc(SIZE, 'changed since ');

interface Change {
  /** How many times bytes have left before it. */
  readonly after?: number;
  /** What reads do since then. */
  readonly again?: () => Promise<void> | void;
}

/** An export whose file is found to be another one, perhaps, when replies are about to leave. */
async function changing(t: TestContext, structured: boolean, { after = 0, again = () => {} }: Change = {}) {
  let looks = 0;
  const data = content(SIZE);
  let generation = 0;
  const exports = memoryExports({
    root: {
      data,
      generation: () => generation,
      before: () => (generation === 0 ? undefined : again()),
      check() {
        looks += 1;
        if (generation > 0 || looks <= after) return;
        generation = 1;
        CHANGED.copy(data);
      },
    },
  });
  const server = await nbd(t, exports);
  const client = await dial(t, server.port);
  await client.greet();
  await client.go('root', structured);
  return { server, client, exports };
}

for (const structured of [true, false]) {
  describe(`${structured ? 'structured' : 'simple'} replies`, () => {
    it('hold what the file holds after it was looked at', async (t) => {
      const { client, server } = await changing(t, structured);
      const wanted = new Map(
        [
          [0, 512],
          [4096, 4096],
          [8192, 900_000],
          [100, 40_000],
        ].map(([offset = 0, length = 0]) => [client.request({ offset, length }), { offset, length }]),
      );
      for (let left = wanted.size; left > 0; left -= 1) {
        const { cookie, error, data } = await client.reply();
        const { offset, length } = wanted.get(cookie) ?? { offset: 0, length: 0 };
        assert.equal(error, 0);
        assert.deepEqual(data, CHANGED.subarray(offset, offset + length));
      }
      // It is not read again for ever.
      assert.deepEqual((await client.read(5, 10)).data, CHANGED.subarray(5, 15));
      assert.equal(server.heldBytes, 0);
      assert.deepEqual(server.errors, []);
    });

    it('hold it from where it was looked at, where some of a long one has left', async (t) => {
      const { client, server } = await changing(t, structured, { after: 1 });
      const { error, data } = await client.read(0, 900_000);
      assert.equal(error, 0);
      assert.deepEqual(data.subarray(0, 4096), content(SIZE).subarray(0, 4096));
      assert.deepEqual(data.subarray(262_144), CHANGED.subarray(262_144, 900_000));
      assert.equal(server.heldBytes, 0);
    });

    it('are errors where that is not what was sealed', async (t) => {
      const refusal = new Refusal('bad-signature', 'Block 1 of root is not the one that was sealed.');
      const { client, server } = await changing(t, structured, { again: () => Promise.reject(refusal) });
      for (const length of [4096, 60_000]) {
        const { error, data } = await client.read(0, length);
        assert.equal(error, NBD_ERROR.io);
        assert.ok(!data.includes('changed'));
      }
      assert.equal((await server.event('refused')).refusal.code, 'bad-signature');
      assert.equal(server.heldBytes, 0);
    });

    it('cost nothing where the client leaves meanwhile', async (t) => {
      const begun = new EventTarget();
      const reading = new Promise((resolve) => begun.addEventListener('again', resolve, { once: true }));
      let finish = (): void => {};
      const finished = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const again = (): Promise<void> => {
        begun.dispatchEvent(new Event('again'));
        return finished;
      };
      const { client, server, exports } = await changing(t, structured, { again });
      client.request({ offset: 0, length: 300_000 });
      await reading;
      client.socket.destroy();
      // Whether the server has seen that or not: the export stays open while it is read.
      assert.equal(exports.opened, 1);
      finish();
      const { outcome } = await server.event('ended');
      assert.ok(['client-gone', 'failed'].includes(outcome), outcome);
      assert.equal(server.heldBytes, 0);
      assert.equal(exports.opened, 0);
      assert.deepEqual(server.errors, []);
    });
  });
}
