import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { connected } from '../../lab/nbd-root.ts';
import { publish } from '../../src/publish/publish.ts';
import { objectKey } from '../../src/store/objects.ts';
import { INITRD, KERNEL, ROOTFS } from '../fixtures/release.ts';
import { folder, site } from './bucket-site.ts';

const tree = join(folder, '2026.11.01');
const content = (path: string) => readFile(join(tree, path));
const keyOf = async (path: string) =>
  `site/${objectKey(
    createHash('sha256')
      .update(await content(path))
      .digest('hex'),
  )}`;
const at = (path: string) => `/releases/arch/2026.11.01/${path}`;
const bytesOf = async (answer: Response) => Buffer.from(await answer.arrayBuffer());

describe('a server of a state in a bucket', () => {
  it('reads records alone before it is asked, and then each file once', async (t) => {
    const { stub, begin } = await site(t);
    const { server } = await begin();
    for (const path of [KERNEL, INITRD, ROOTFS, `${ROOTFS}.verity`])
      assert.ok(!stub.asked.includes(`GET ${await keyOf(path)}`), path);
    for (const path of [KERNEL, INITRD, ROOTFS, `${ROOTFS}.verity`, `${KERNEL}.sig`, 'release.manifest']) {
      const answer = await fetch(server.url + at(path));
      assert.deepEqual([answer.status, await bytesOf(answer)], [200, await content(path)], path);
    }
    stub.asked.length = 0;
    const again = await fetch(server.url + at(KERNEL));
    assert.deepEqual(await bytesOf(again), await content(KERNEL));
    assert.deepEqual(
      stub.asked.filter((line) => line.includes('/objects/')),
      [],
    );
    assert.match(
      await (await fetch(`${server.url}/metrics`)).text(),
      /bootseal_cache_requests_total\{result="hit"\} [1-9]/,
    );
  });

  it('gives parts of an image, over HTTP and NBD, and fetches no more than those', async (t) => {
    const { stub, begin } = await site(t);
    const { server } = await begin();
    const image = await content(ROOTFS);
    const part = await fetch(server.url + at(ROOTFS), { headers: { Range: 'bytes=5000-9999' } });
    assert.deepEqual([part.status, await bytesOf(part)], [206, image.subarray(5000, 10_000)]);
    const root = await connected(server.nbd?.port ?? 0, 'airootfs');
    t.after(() => root.close());
    assert.deepEqual(await root.read(1_200_000, 4096), image.subarray(1_200_000, 1_204_096));
    const key = await keyOf(ROOTFS);
    assert.equal(stub.asked.filter((line) => line === `GET ${key}`).length, 2);
    const tail = await connected(server.nbd?.port ?? 0, 'airootfs.verity');
    t.after(() => tail.close());
    const hashes = await content(`${ROOTFS}.verity`);
    assert.deepEqual(await tail.read(4096, 4096), hashes.subarray(4096, 8192));
  });

  it('never gives out an object that was changed in the bucket, says so, and gives the rest', async (t) => {
    const { stub, begin } = await site(t);
    const key = await keyOf(KERNEL);
    const good = stub.objects.get(key)?.bytes ?? assert.fail();
    const changed = Buffer.from(good);
    changed[9] = (changed[9] ?? 0) ^ 1;
    stub.set(key, changed);
    const { server, heard } = await begin();
    const cut = fetch(server.url + at(KERNEL)).then(async (answer) => ({
      status: answer.status,
      body: await answer.text(),
    }));
    const got = await cut.catch(() => ({ status: 0, body: '' }));
    assert.ok(got.status === 0 || got.status === 503, String(got.status));
    await heard('a file of the store is not what was published, and is not served');
    const told = await fetch(server.url + at(KERNEL));
    assert.deepEqual([told.status, (await told.text()).split(':')[0]], [503, 'drifted']);
    await heard('a file is not what was verified, and is not served');
    const ready = await fetch(`${server.url}/readyz`);
    assert.match(await ready.text(), /not what was verified|not what was published/);
    assert.equal((await fetch(server.url + at(INITRD))).status, 200);
  });

  it('goes on while the engine is away: what it has is served, what it lacks is 503 and says when', async (t) => {
    const { stub, begin } = await site(t);
    const { server, heard } = await begin();
    assert.equal((await fetch(server.url + at(KERNEL))).status, 200);
    stub.trick = ({ response }) => {
      response.destroy();
      return true;
    };
    const kernel = await fetch(server.url + at(KERNEL));
    assert.deepEqual(await bytesOf(kernel), await content(KERNEL));
    assert.equal((await fetch(`${server.url}/boot.ipxe`)).status, 200);
    for (const headers of [{}, { Range: 'bytes=1-2' }]) {
      const missing = await fetch(server.url + at(INITRD), { headers });
      assert.deepEqual([missing.status, missing.headers.get('retry-after')], [503, '5']);
      assert.match(await missing.text(), /^unreachable: .*the store cannot be reached; try again\.\n$/);
    }
    await heard('the state cannot be followed; what was offered before stays');
    // That the store does not answer is said for a minute after somebody asked it.
    assert.equal((await fetch(server.url + at(INITRD))).status, 503);
    const ready = await fetch(`${server.url}/readyz`);
    assert.equal(ready.status, 200);
    assert.match(
      await ready.text(),
      /the state is not followed at the moment[\s\S]*the store cannot be reached/,
    );
    const write = await fetch(`${server.url}/api/v1/releases/arch/2026.11.01/withdraw`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{}',
    });
    assert.deepEqual(
      [write.status, ((await write.json()) as { message: string }).message],
      [403, 'The state of this server is in a bucket, which holds no tokens; nothing can be changed by it.'],
    );
    stub.trick = () => false;
    assert.deepEqual(await bytesOf(await fetch(server.url + at(INITRD))), await content(INITRD));
  });

  it('follows its channels', async (t) => {
    const { given, begin } = await site(t);
    const { server, heard } = await begin();
    assert.equal(server.release, 'arch/2026.11.01');
    await publish({ ...given, tree: join(folder, '2026.11.02') });
    await heard('the channel moved');
    assert.equal(server.release, 'arch/2026.11.02');
    const image = await fetch(`${server.url}/releases/arch/2026.11.02/${ROOTFS}`);
    assert.deepEqual(await bytesOf(image), await readFile(join(folder, '2026.11.02', ROOTFS)));
  });

  for (const kind of ['presigned', 'public'] as const)
    it(`sends clients that follow to a ${kind} address for large files, and nobody else`, async (t) => {
      const { stub, begin } = await site(t);
      const redirect = kind === 'presigned' ? kind : `${stub.endpoint}/${stub.bucket}/site`;
      const { server } = await begin({ configuration: { s3: { redirect } } });
      const ask = (path: string, agent: string) =>
        fetch(server.url + at(path), { redirect: 'manual', headers: { 'User-Agent': agent } });
      for (const [agent, path] of [
        ['iPXE/1.21.1+', KERNEL],
        ['curl/8.14.1', ROOTFS],
      ] as const) {
        const sent = await ask(path, agent);
        assert.equal(sent.status, 302);
        const location = sent.headers.get('location') ?? '';
        assert.match(
          location,
          kind === 'presigned' ? /X-Amz-Signature=/ : /\/site\/releases\/arch\/2026\.11\.01\//,
        );
        assert.deepEqual(await bytesOf(await fetch(location)), await content(path));
        assert.equal((await ask(`${path}?direct`, agent)).status, 200);
      }
      for (const agent of ['GRUB/2.12', 'UefiHttpBoot/1.0', 'Mozilla/5.0'])
        assert.equal((await ask(ROOTFS, agent)).status, 200, agent);
      for (const path of ['release.manifest', `${ROOTFS}.sig`, 'boot.ipxe'])
        assert.equal((await ask(path, 'iPXE/1.21.1+')).status, 200, path);
    });
});
