import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, watch, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, it, type TestContext } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { CephNode } from '../../lab/ceph.ts';
import { execute } from '../../lab/command.ts';
import { connected } from '../../lab/nbd-root.ts';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import { type Replica, startReplica } from '../../lab/replica.ts';
import { newBucket, s3Client } from '../../lab/s3-bucket.ts';
import { publish } from '../../src/publish/publish.ts';
import { ArmedBoots } from '../../src/store/armed-boots.ts';
import { objectKey } from '../../src/store/objects.ts';
import { S3Backend } from '../../src/store/s3/backend.ts';
import { bucketPlace } from '../../src/store/s3/location.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

/** Servers that hold nothing, on one bucket of a real engine: processes of their own, behind a real nginx, with curl. */

const MIB = 1024 * 1024;
const RELEASE = '/releases/arch/2026.11.01/';
const engine = await CephNode.make();
after(() => engine.destroy());
Object.assign(process.env, engine.environment());
const bucket = await newBucket(engine);
const state = `s3://${bucket}/site`;
const folder = await temporaryFolder();
const now = Date.now();
const keys = await makeKeys(join(folder, 'keys'), { now });
const anchors = join(keys, 'anchors');
const tree = await sampleTree(join(folder, 'tree'), keys);
const image = Buffer.concat([Buffer.from('hsqs'), randomBytes(40 * MIB - 4)]);
await writeFile(join(tree, ROOTFS), image);
await sealFixture(tree, keys, { now });
const published = await publish({ tree, anchors, channel: 'stable', state, snapshotKey: keys, now });
if (published.refusal) throw published.refusal;

let caches = 0;
async function replica(t: TestContext): Promise<Replica> {
  caches += 1;
  const cache = join(folder, `cache${caches}`);
  const one = await startReplica(['--state', state, '--anchors', anchors, '--cache', cache]);
  t.after(() => one.kill());
  return one;
}

async function objectOf(path: string): Promise<{ readonly key: string; readonly bytes: Buffer }> {
  const bytes = await readFile(join(tree, path));
  return { key: `site/${objectKey(createHash('sha256').update(bytes).digest('hex'))}`, bytes };
}

/** Resolves when a file has so many bytes. */
async function grown(path: string, bytes: number): Promise<void> {
  const stop = new AbortController();
  const changes = watch(join(path, '..'), { signal: stop.signal });
  const size = () =>
    stat(path).then(
      (one) => one.size,
      () => 0,
    );
  try {
    for await (const _ of changes) if ((await size()) >= bytes) return;
  } finally {
    stop.abort();
  }
}

it('a replica dies in the middle of a transfer, and the client goes on at the other', async (t) => {
  const [first, second] = await Promise.all([replica(t), replica(t)]);
  const [port = 0] = await freePorts(1);
  const root = join(folder, 'nginx');
  const more = `
    proxy_max_temp_file_size 0;
    proxy_read_timeout 120s;
    location / { proxy_pass ${first.url}; error_page 502 504 = @other; }
    location @other { proxy_pass ${second.url}; }`;
  await mkdir(root, { recursive: true });
  const nginx = await startNginx(root, [{ root, port, more }]);
  t.after(() => nginx.stop());
  const url = `http://127.0.0.1:${port}${RELEASE}${ROOTFS}`;
  const place = join(folder, 'got');
  await mkdir(place);
  const out = join(place, 'root.img');
  const words = ['--silent', '--fail', '--location', '--continue-at', '-', '--output', out];
  const cut = execute('curl', [...words, '--limit-rate', '12M', url]);
  await grown(out, 4 * MIB);
  await first.kill();
  // 18: fewer bytes came than were promised.
  assert.equal((await cut).status, 18);
  const { size } = await stat(out);
  assert.ok(size >= 4 * MIB && size < image.length, String(size));
  const rest = await execute('curl', [...words, url]);
  assert.equal(rest.status, 0, rest.stderr);
  assert.ok((await readFile(out)).equals(image));
});

it('the engine dies: what is here is served, and all of it once the engine is back', async (t) => {
  const one = await replica(t);
  const { bytes: kernel } = await objectOf(KERNEL);
  const { bytes: initrd } = await objectOf(INITRD);
  const get = async (path: string) => {
    const answer = await fetch(one.url + RELEASE + path);
    return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()), headers: answer.headers };
  };
  assert.ok((await get(KERNEL)).bytes.equals(kernel));
  const root = await connected(one.nbdPort, 'airootfs');
  t.after(() => root.close());
  assert.ok((await root.read(5 * MIB, 4096)).equals(image.subarray(5 * MIB, 5 * MIB + 4096)));
  await engine.kill();
  assert.ok((await get(KERNEL)).bytes.equals(kernel));
  assert.equal((await fetch(`${one.url}/boot.ipxe`)).status, 200);
  assert.equal((await fetch(`${one.url}/boot.ipxe?mac=52:54:00:12:34:56`)).status, 200);
  const missing = await get(INITRD);
  assert.deepEqual([missing.status, missing.headers.get('retry-after')], [503, '5']);
  const ready = await fetch(`${one.url}/readyz`);
  assert.match(`${ready.status} ${await ready.text()}`, /^200 [\s\S]*the store cannot be reached/);
  // A machine whose root this is waits, and does not learn of it.
  const waiting = root.read(20 * MIB, 4096);
  await engine.start();
  assert.ok((await waiting).equals(image.subarray(20 * MIB, 20 * MIB + 4096)));
  const again = await execute('curl', [
    ...['--silent', '--fail', '--retry', '20', '--retry-delay', '1', '--retry-all-errors'],
    ...['--output', join(folder, 'initrd'), one.url + RELEASE + INITRD],
  ]);
  assert.equal(again.status, 0, again.stderr);
  assert.ok((await readFile(join(folder, 'initrd'))).equals(initrd));
});

it('an object that somebody changed in the bucket reaches no client, whole or in parts', async (t) => {
  const one = await replica(t);
  const client = s3Client(engine);
  t.after(() => client.destroy());
  const put = (key: string, bytes: Buffer) =>
    client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes }));
  const { key, bytes } = await objectOf(ROOTFS);
  const changed = Buffer.from(bytes);
  changed[30 * MIB + 5] = (changed[30 * MIB + 5] ?? 0) ^ 0x80;
  await put(key, changed);
  t.after(() => put(key, bytes));
  const url = `${one.url}${RELEASE}${ROOTFS}`;
  const out = join(folder, 'changed.img');
  const whole = await execute('curl', ['--silent', '--fail', '--output', out, url]);
  assert.notEqual(whole.status, 0);
  const length = await stat(out).then(
    ({ size }) => size,
    () => 0,
  );
  assert.ok(length < bytes.length, 'the last bytes stay here');
  const told = await fetch(url, { headers: { Range: `bytes=${30 * MIB}-${30 * MIB + 10}` } });
  assert.deepEqual([told.status, (await told.text()).split(':')[0]], [503, 'drifted']);
  await one.heard('a file of the store is not what was published, and is not served');
  await one.heard('a file is not what was verified, and is not served');
  assert.match(
    await (await fetch(`${one.url}/readyz`)).text(),
    /^drifted: No machine boots: files are not what was verified/,
  );
  assert.match(await (await fetch(`${one.url}/metrics`)).text(), /\nbootseal_cache_refused_total 1\n/);
  assert.equal((await fetch(one.url + RELEASE + KERNEL)).status, 200);
});

it('an arming is consumed by one replica, however many are told at once', async () => {
  const mac = '52:54:00:12:34:56';
  const at = () => new ArmedBoots(new S3Backend(bucketPlace(`s3://${bucket}/armed`)));
  const kept = await at().add({
    ...{ id: '1'.padStart(16, '0'), mac, uuid: undefined, loader: 'ipxe', words: [], by: 'a test' },
    ...{ release: 'arch/2026.11.01', manifest: 'a'.repeat(64), script: 'b'.repeat(64) },
    ...{ armed: now, ends: now + 3_600_000, afterwards: 'usual', leaves: undefined },
  });
  const over = { id: kept.arming.id, how: 'report', time: now } as const;
  const took = await Promise.all(Array.from({ length: 8 }, () => at().consume(kept, over)));
  assert.equal(took.filter(Boolean).length, 1);
});

it('what a server that was killed had fetched is read before it is used, and not fetched again', async (t) => {
  const cache = join(folder, 'kept');
  const words = ['--state', state, '--anchors', anchors, '--cache', cache];
  const { bytes } = await objectOf(INITRD);
  const first = await startReplica(words);
  assert.equal((await fetch(first.url + RELEASE + INITRD)).status, 200);
  const cut = await fetch(first.url + RELEASE + ROOTFS);
  await cut.body?.cancel();
  await first.kill();
  const second = await startReplica(words);
  t.after(() => second.kill());
  const got = await fetch(second.url + RELEASE + INITRD);
  assert.ok(Buffer.from(await got.arrayBuffer()).equals(bytes));
  const numbers = await (await fetch(`${second.url}/metrics`)).text();
  assert.match(numbers, /\nbootseal_cache_fetched_bytes_total 0\n/);
});
