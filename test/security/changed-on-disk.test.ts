import assert from 'node:assert/strict';
import { cp, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { it, type TestContext } from 'node:test';
import { connected } from '../../lab/nbd-root.ts';
import { type Serving, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { type Answer, ask } from '../serve/http/harness.ts';
import { fetchFile } from '../serve/tftp/tftp-harness.ts';

/**
 * Every file of a release that is being served is changed on disk, after each of them was read and what is small is held in
 * memory. Whatever way is asked for it, what comes is what was sealed, whole, or nothing that looks like it.
 */

const RELEASE = 'arch/2026.11.01';
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const sealed = await sampleTree(join(folder, 'sealed'), keys);
await sealFixture(sealed, keys);

/** Other bytes of the same length. */
const others = (bytes: Buffer): Buffer => Buffer.from(bytes.map((octet) => octet ^ 0x5a));

/** Puts the times of `path` on what `change` makes of it, as far as anybody can who is not the kernel. */
async function keepingTimes(path: string, change: () => Promise<unknown>): Promise<void> {
  const { atime, mtime } = await stat(path);
  await change();
  await utimes(path, atime, mtime);
}

async function overwrite(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, 'r+');
  await handle.write(others(bytes), 0, bytes.length, 0);
  await handle.close();
}

const CHANGES: Readonly<Record<string, (path: string, bytes: Buffer) => Promise<unknown>>> = {
  'written over': (path, bytes) => overwrite(path, bytes),
  'written over, and their times put back': (path, bytes) => keepingTimes(path, () => overwrite(path, bytes)),
  'swapped for others of the same sizes and times': (path, bytes) =>
    keepingTimes(path, async () => {
      await writeFile(`${path}.new`, others(bytes));
      await rename(`${path}.new`, path);
    }),
  'made longer': (path, bytes) => writeFile(path, Buffer.concat([bytes, others(bytes)])),
  'cut off': (path, bytes) => writeFile(path, bytes.subarray(0, bytes.length >> 1)),
  'taken away': (path) => rm(path),
};

/** A server of a copy of the release, and what it serves of it, each file read twice. */
async function offered(t: TestContext, name: string) {
  const tree = join(folder, name);
  await cp(sealed, tree, { recursive: true });
  const server = await serve({
    tree,
    anchors: [join(keys, 'anchors')],
    clock: () => NOW,
    httpPort: 0,
    tftpPort: 0,
    nbdPort: 0,
    configuration: { allow_unverified_loaders: true },
  });
  t.after(() => server.close(0));
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  const files = new Map<string, Buffer>();
  for (const entry of entries.filter((one) => one.isFile())) {
    const path = join(entry.parentPath, entry.name);
    const inside = relative(tree, path);
    const bytes = await readFile(path);
    for (const _ of [1, 2]) {
      const { status, body } = await get(server, inside);
      if (status !== 200) continue;
      assert.deepEqual(body, bytes, inside);
      files.set(inside, bytes);
    }
  }
  return { server, files, tree };
}

function get({ http }: Serving, path: string, headers: Readonly<Record<string, string>> = {}) {
  return ask(http.port, `/releases/${RELEASE}/${path}`, { headers });
}

/** What came of it; nothing where it was refused or cut off. */
async function came(asking: Promise<Buffer | Answer>): Promise<Buffer | undefined> {
  const answer = await asking.catch(() => undefined);
  if (answer === undefined || Buffer.isBuffer(answer)) return answer;
  assert.ok(answer.status === 200 || answer.status === 206 || answer.status === 503, String(answer.status));
  return answer.status === 503 ? undefined : answer.body;
}

for (const [what, change] of Object.entries(CHANGES)) {
  it(`files that were ${what} are given to nobody`, async (t) => {
    const { server, files, tree } = await offered(t, what.replace(/\W+/g, '-'));
    assert.ok(files.size > 20, `${files.size} files`);
    const root = await connected(server.nbd?.port ?? 0, `${RELEASE}/airootfs`);
    t.after(() => root.close());
    const first = (files.get(ROOTFS) ?? Buffer.alloc(0)).subarray(0, 4096);
    assert.deepEqual(await root.read(0, 4096), first);

    for (const [path, bytes] of files) await change(join(tree, path), bytes);
    const given: string[] = [];
    for (const [path, bytes] of files) {
      const ways: readonly (readonly [string, () => Promise<Buffer | Answer>, Buffer])[] = [
        ['HTTP', () => get(server, path), bytes],
        ['HTTP, the long way', () => get(server, path, { 'X-Unheard-Of': '1' }), bytes],
        ['HTTP, a part', () => get(server, path, { Range: 'bytes=1-9' }), bytes.subarray(1, 10)],
        [
          'TFTP',
          () =>
            fetchFile(t, server.tftp?.port ?? 0, `releases/${RELEASE}/${path}`, {
              options: { blksize: '1428', windowsize: '8' },
            }).then(({ data }) => data),
          bytes,
        ],
      ];
      for (const [way, asks, expected] of ways) {
        const body = await came(asks());
        if (body === undefined) continue;
        assert.deepEqual(body, expected, `${path} over ${way}`);
        given.push(path);
      }
    }
    // Records are in memory as they were verified, with their seals; payload is on disk alone.
    const manifest = files.get('release.manifest')?.toString() ?? '';
    const payload = [...manifest.matchAll(/^file \S+ \d+ \S+ \S+ (.*)$/gm)].map(([, path = '']) => path);
    assert.ok(payload.length > 3);
    assert.deepEqual(
      payload.filter((path) => given.includes(path)),
      [],
    );
    await assert.rejects(root.read(0, 4096));
    await assert.rejects(connected(server.nbd?.port ?? 0, `${RELEASE}/airootfs`));
  });
}
