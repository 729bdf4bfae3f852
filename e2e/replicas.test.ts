import assert from 'node:assert/strict';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CephNode } from '../lab/ceph.ts';
import { expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { type Nginx, startNginx } from '../lab/nginx.ts';
import { addOverlay, bootDirect, consoleOf } from '../lab/overlay.ts';
import { relayInto } from '../lab/relay.ts';
import { type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { type Replica, startReplica } from '../lab/replica.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { newBucket } from '../lab/s3-bucket.ts';
import type { RunningServer } from '../lab/servers.ts';
import { publish } from '../src/index.ts';

const RELEASE = 'arch/2026.11.01';
/**
 * Bytes a second that nginx gives the two machines as long as both replicas live. The first is the one that is cut off: it
 * may begin more than a minute before the other and must be in the middle of it when its replica dies. nginx takes no heed of
 * a rate where it does not buffer.
 */
const RATES = ['384k', '1m'] as const;

describe('two servers that hold nothing, on one bucket', () => {
  let engine: CephNode;
  let release: LabRelease;
  let lan: Lan;
  let relay: RunningServer;
  let replicas: readonly [Replica, Replica];
  let nginx: Nginx;

  before(async () => {
    engine = await CephNode.make();
    const environment = engine.environment();
    Object.assign(process.env, environment);
    release = await labRelease({ prepare: (tree, keys) => addOverlay(tree, keys, 'ram') });
    const { keys, tree, folder } = release;
    const anchors = join(keys, 'anchors');
    const state = `s3://${await newBucket(engine)}/site`;
    const given = { tree, anchors, channel: 'stable', state, snapshotKey: keys, now: Date.now() };
    const { refusal } = await publish(given);
    if (refusal) throw refusal;
    lan = await createLan();
    await lan.startDhcp({});
    const { port } = new URL(engine.endpoint);
    relay = await relayInto(lan, Number(port));
    process.env.AWS_ENDPOINT_URL_S3 = `http://${LAN_ADDRESS}:${port}`;
    const start = (name: string) =>
      startReplica(['--state', state, '--anchors', anchors, '--cache', join(folder, name)], lan);
    replicas = [await start('cache-1'), await start('cache-2')];
    const [first, second] = replicas.map(({ url }) => new URL(url).host);
    const root = join(folder, 'nginx');
    await mkdir(root);
    // The bytes of a machine come from one of them, as long as that is there.
    const site = (port: number, rate: string, one = '', other = '') => ({
      root,
      port,
      more: `
    proxy_max_temp_file_size 0; limit_rate ${rate};
    location / { proxy_pass http://${one}; error_page 502 504 = @other; }
    location @other { proxy_pass http://${other}; limit_rate 0; }`,
    });
    const sites = [site(8080, RATES[0], first, second), site(8090, RATES[1], second, first)];
    nginx = await startNginx(root, sites, LAN_ADDRESS, lan);
  });
  after(async () => {
    await nginx?.stop();
    for (const replica of replicas ?? []) await replica.stop();
    await relay?.stop();
    await lan?.close();
    await release?.remove();
    await engine?.destroy();
  });

  it('boot two machines, verified, while one of them is killed', async () => {
    const { tree } = release;
    const boot = (port: number) =>
      bootDirect({
        ...{ lan, tree, release: RELEASE, memoryMiB: 1024 },
        commandLine: (line) => line.replace(':8080/', `:${port}/`),
      });
    const machines = await Promise.all([boot(8080), boot(8090)]);
    const logs = machines.map(consoleOf);
    for (const machine of machines) await machine.waitFor([`bootseal: fetching ${ROOTFS}`]);
    await midway(lan, replicas[0].url);
    await replicas[0].kill();
    for (const log of await Promise.all(logs))
      expectMilestones(log, [
        `bootseal: manifest verified, ${RELEASE}`,
        'bootseal: root image verified',
        'bootseal: root mounted',
        REAL_ROOT_LINE,
      ]);
    await nginx.stop();
    const { size } = await stat(join(tree, ROOTFS));
    const asked = (await nginx.asked()).filter((line) => line.includes(ROOTFS) && line.includes(' GET '));
    const got = (port: number) =>
      asked.filter((line) => line.startsWith(`${port} `)).map((line) => Number(line.split(' ').at(-1)));
    const [cut = 0, ...whole] = got(8080);
    assert.ok(cut > 0 && cut < size, `it was cut off in the middle: ${asked.join('; ')}`);
    assert.deepEqual([whole, got(8090)], [[size], [size]]);
  });
});

/**
 * Resolves once nginx has a part of the root image from a replica: what is killed before its answer has begun cuts nothing
 * off, and a replica with an empty cache fetches all of it before. Nothing tells, so the kernel is asked again and again.
 */
async function midway(lan: Lan, url: string): Promise<void> {
  const ask = ['-tinH', 'state', 'established', 'dst', new URL(url).host];
  for (;;) {
    const { stdout } = await lan.execute('ss', ask);
    const received = [...stdout.matchAll(/ bytes_received:(\d+)/g)].map(([, count]) => Number(count));
    if (received.some((count) => count > 1_000_000)) return;
  }
}
