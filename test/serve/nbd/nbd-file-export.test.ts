import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  appendFile,
  copyFile,
  open,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../../src/errors/refusal.ts';
import { identityOf } from '../../../src/files/file-identity.ts';
import { NBD_ERROR } from '../../../src/formats/net/nbd.ts';
import { NBD_REFUSED } from '../../../src/formats/net/nbd-option-reply.ts';
import { FileExport, type FileExportOptions, fileExports } from '../../../src/serve/nbd/nbd-file-export.ts';
import { VERIFIED_BLOCK, VerifiedBlocks } from '../../../src/serve/nbd/nbd-verified-blocks.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { content, dial, nbd, transmitting } from './nbd-harness.ts';

const folder = await temporaryFolder();
const DATA = content(1_000_000);
const SHA256 = createHash('sha256').update(DATA).digest('hex');
let files = 0;

async function exported(
  options: Partial<FileExportOptions> = {},
): Promise<{ path: string; file: FileExport }> {
  files += 1;
  const path = join(folder, `root${files}`);
  await writeFile(path, DATA);
  // Times that can be put back: the system takes no more than microseconds.
  const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
  await utimes(path, whole, whole);
  const identity = identityOf(await stat(path, { bigint: true }));
  const file = { path, name: 'root.sfs', size: DATA.length, sha256: SHA256, identity };
  return { path, file: new FileExport({ name: 'root', file, ...options }) };
}

/** Descriptors of this process that are open on `path`. */
async function descriptors(path: string): Promise<number> {
  const all = await readdir('/proc/self/fd');
  const targets = await Promise.all(all.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return targets.filter((target) => target === path || target === `${path} (deleted)`).length;
}

describe('a file as an export', () => {
  it('is its bytes', async (t) => {
    const { file } = await exported();
    const server = await nbd(t, fileExports([file]));
    const client = await transmitting(t, server.port, { structured: true });
    for (const [offset, length] of [
      [0, 1],
      [999_999, 1],
      [4095, 70_000],
      [0, 1_000_000],
    ] as const) {
      assert.ok((await client.read(offset, length)).data.equals(DATA.subarray(offset, offset + length)));
    }
  });

  it('is opened once for all of its connections, and closed with the last', async (t) => {
    const { file, path } = await exported();
    const server = await nbd(t, fileExports([file]));
    assert.equal(await descriptors(path), 0);
    const clients = await Promise.all(Array.from({ length: 20 }, () => transmitting(t, server.port)));
    assert.equal(await descriptors(path), 1);
    for (const client of clients) client.socket.destroy();
    await Promise.all(clients.map((_, index) => server.event('ended', ({ id }) => id === index + 1)));
    assert.equal(await descriptors(path), 0);
    assert.equal((await (await transmitting(t, server.port)).read(0, 10)).error, 0);
  });

  const CHANGES: readonly (readonly [string, (path: string) => Promise<void>])[] = [
    ['a longer one', (path) => appendFile(path, 'x')],
    [
      'a shorter one',
      async (path) => {
        const handle = await open(path, 'r+');
        await handle.truncate(10);
        await handle.close();
      },
    ],
    [
      'one with another byte',
      async (path) => {
        const handle = await open(path, 'r+');
        await handle.write('x', 5);
        await handle.close();
      },
    ],
    [
      'one with another byte, and the times of before',
      async (path) => {
        const { atime, mtime } = await stat(path);
        const handle = await open(path, 'r+');
        await handle.write('x', 5);
        await handle.close();
        await utimes(path, atime, mtime);
      },
    ],
    [
      'another of the same size and times in its place',
      async (path) => {
        const { atime, mtime } = await stat(path);
        await writeFile(`${path}.new`, Buffer.alloc(DATA.length, 'x'));
        await rename(`${path}.new`, path);
        await utimes(path, atime, mtime);
      },
    ],
    ['one of another time', (path) => utimes(path, 1, 1)],
    [
      'another in its place',
      async (path) => {
        await copyFile(path, `${path}.new`);
        await rename(`${path}.new`, path);
      },
    ],
    ['none', (path) => rm(path)],
  ];

  for (const [what, change] of CHANGES) {
    it(`that has become ${what} is not served any more, not to those who have it open either`, async (t) => {
      const told: Refusal[] = [];
      const { file, path } = await exported({ onShut: (refusal) => told.push(refusal) });
      const server = await nbd(t, fileExports([file]));
      const client = await transmitting(t, server.port, { structured: true });
      assert.equal((await client.read(0, 10)).error, 0);
      await change(path);
      for (const length of [10, 500_000]) {
        const { error, message } = await client.read(0, length);
        assert.equal(error, NBD_ERROR.io);
        assert.match(message, /^drifted: /);
      }
      assert.deepEqual([told.length, told[0]?.code], [1, 'drifted']);
      assert.equal(file.shut, told[0]);
      const late = await dial(t, server.port);
      await late.greet();
      const [answer] = await late.ask({ kind: 'go', name: 'root', wants: [] });
      assert.equal(answer?.kind === 'refused' && answer.type, NBD_REFUSED.policy);
      client.socket.destroy();
      await server.event('ended', ({ id }) => id === 1);
      assert.equal(await descriptors(path), 0);
      assert.deepEqual(server.errors, []);
    });
  }

  it('that had changed before anyone came is refused, and its path is not told', async () => {
    const told: Refusal[] = [];
    const { file, path } = await exported({ onShut: (refusal) => told.push(refusal) });
    await appendFile(path, 'x');
    await assert.rejects(file.open(), { code: 'drifted' });
    assert.equal(told.length, 1);
    const gone = await exported();
    await rm(gone.path);
    await assert.rejects(gone.file.open(), (error) => {
      return error instanceof Refusal && error.code === 'drifted' && !error.message.includes(folder);
    });
    assert.equal(await descriptors(path), 0);
  });

  it('the first one is the default export', async () => {
    const [one, other] = [await exported(), await exported({ name: 'tree' })];
    const exports = fileExports([one.file, other.file]);
    assert.deepEqual(
      exports.list().map(({ name }) => name),
      ['root', 'tree'],
    );
    for (const [asked, name] of [
      ['', 'root'],
      ['tree', 'tree'],
    ] as const) {
      const opened = await exports.open(asked);
      assert.equal(opened?.name, name);
      await opened?.close();
    }
    assert.equal(await exports.open('none'), undefined);
  });
});

const hashOf = (block: Uint8Array): string => createHash('sha256').update(block).digest('hex');
const HASHES = Array.from({ length: Math.ceil(DATA.length / VERIFIED_BLOCK) }, (_, index) =>
  hashOf(DATA.subarray(index * VERIFIED_BLOCK, (index + 1) * VERIFIED_BLOCK)),
);

describe('blocks that are verified', () => {
  for (const slow of [false, true]) {
    it(`are looked at once, when they are first read${slow ? ', by one who takes his time' : ''}`, async (t) => {
      const seen: number[] = [];
      const look = (index: number, block: Buffer): boolean => {
        seen.push(index);
        return hashOf(block) === HASHES[index];
      };
      const verify = slow ? async (index: number, block: Buffer) => look(index, block) : look;
      const { file } = await exported({ verify });
      const server = await nbd(t, fileExports([file]));
      const client = await transmitting(t, server.port, { structured: true });
      for (const [offset, length, first, last] of [
        [5000, 1, 1, 1],
        [4096, 4096, 2, 1],
        [4095, 4098, 0, 2],
        [0, 12_288, 3, 2],
        [999_999, 1, 244, 244],
        [0, 1_000_000, 3, 243],
        [1, 999_999, 1, 0],
      ] as const) {
        seen.length = 0;
        const { data } = await client.read(offset, length);
        assert.ok(data.equals(DATA.subarray(offset, offset + length)), `${offset} ${length}`);
        const sorted = [...seen].sort((one, other) => one - other);
        const expected = HASHES.map((_, index) => index).filter((index) => index >= first && index <= last);
        // Those of the second read were seen before, and so was the one in the middle of the third.
        assert.deepEqual(sorted, offset === 4095 ? [0, 2] : expected, `${offset} ${length}`);
      }
    });
  }

  it('that are not what was sealed do not leave, nor does anything after them', async (t) => {
    const told: Refusal[] = [];
    const verify = (index: number): boolean => index !== 100;
    const { file } = await exported({ verify, onShut: (refusal) => told.push(refusal) });
    const server = await nbd(t, fileExports([file]));
    const client = await transmitting(t, server.port, { structured: true });
    assert.equal((await client.read(0, 409_600)).error, 0);
    const bad = await client.read(409_600 + 17, 3);
    assert.deepEqual([bad.error, bad.chunks], [NBD_ERROR.io, 0]);
    assert.match(bad.message, /^bad-signature: /);
    assert.equal((await client.read(0, 10)).error, NBD_ERROR.io);
    assert.deepEqual([told.length, told[0]?.code, told[0]?.facts.block], [1, 'bad-signature', 100]);
    assert.doesNotMatch(told[0]?.message ?? '', new RegExp(folder));
    await assert.rejects(file.open(), { code: 'bad-signature' });
  });

  it('a verifier may say why, and a file that drifted is said to have', async (t) => {
    const why = new Refusal('absent', 'The hash tree is gone.');
    const verify = async (): Promise<boolean> => {
      throw why;
    };
    const { file } = await exported({ verify });
    const opened = await file.open();
    await assert.rejects(
      async () => opened.read(Buffer.alloc(10), 0),
      (error) => error === why,
    );
    await opened.close();

    const drifting = await exported({ verify: () => false });
    const client = await drifting.file.open();
    t.after(() => client.close());
    await appendFile(drifting.path, 'x');
    await assert.rejects(async () => client.read(Buffer.alloc(10), 0), { code: 'drifted' });
  });

  it('give the bytes that were asked for, whatever was read before', async () => {
    const size = 10 * VERIFIED_BLOCK + 100;
    const reads = fc.array(
      fc
        .tuple(fc.integer({ min: 0, max: size - 1 }), fc.integer({ min: 1, max: size }))
        .map(([offset, length]) => ({
          offset,
          length: Math.min(length, size - offset),
        })),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(reads, async (all) => {
        const seen = new Set<number>();
        const blocks = new VerifiedBlocks('x', size, (index, block) => {
          assert.equal(block.length, index === 10 ? 100 : VERIFIED_BLOCK);
          assert.ok(!seen.has(index), `block ${index} twice`);
          seen.add(index);
          return block.equals(DATA.subarray(index * VERIFIED_BLOCK, index * VERIFIED_BLOCK + block.length));
        });
        for (const { offset, length } of all) {
          const into = Buffer.alloc(length);
          if (blocks.has(offset, length)) continue;
          await blocks.read(into, offset, async (buffer, position) => {
            DATA.copy(buffer, 0, position, position + buffer.length);
          });
          assert.ok(into.equals(DATA.subarray(offset, offset + length)));
          assert.ok(blocks.has(offset, length));
        }
        assert.equal(blocks.left, 11 - seen.size);
      }),
    );
  });
});
