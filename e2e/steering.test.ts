import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { type Nginx, startNginx } from '../lab/nginx.ts';
import { addOverlay, bootDirect, consoleOf } from '../lab/overlay.ts';
import { bootQemu } from '../lab/qemu.ts';
import { flip, INITRD, KERNEL, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { type RunningServer, saidTo, startProduct } from '../lab/servers.ts';
import { publish } from '../src/index.ts';
import { CONFIGURATION } from '../src/server/configuration.ts';

/**
 * A server that sends machines to mirrors by a real nginx, which `bootseal mirror audit` looked at: the server decides, and
 * the bytes are nginx'.
 */
const RELEASE = 'arch/2026.11.01';
const INSIDE = `releases/${RELEASE}`;
const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const PORT = 9001;
const MIRROR = `http://${LAN_ADDRESS}:${PORT}/`;
const folder = process.env.BOOTSEAL_IPXE;

interface Site {
  readonly release: LabRelease;
  readonly state: string;
  readonly mirror: string;
  readonly health: string;
}

/** A release in a state, and a mirror's copy of that. */
async function siteOf(release: LabRelease): Promise<Site> {
  const { keys, tree } = release;
  const state = join(release.folder, 'state');
  const anchors = join(keys, 'anchors');
  const { refusal } = await publish({
    tree,
    anchors,
    channel: 'stable',
    state,
    now: Date.now(),
    snapshotKey: keys,
  });
  if (refusal) throw refusal;
  const mirror = join(release.folder, 'mirror');
  for (const name of ['channels', 'releases'])
    await cp(join(state, name), join(mirror, name), { recursive: true });
  return { release, state, mirror, health: join(release.folder, 'health') };
}

/** What a timer runs. @returns its exit status. */
async function auditBy(lan: Lan, { release, health }: Site): Promise<number | null> {
  const anchors = join(release.keys, 'anchors');
  const words = ['mirror', 'audit', MIRROR, '--channel', 'stable', '--anchors', anchors, '--out', health];
  const child = lan.spawn(process.execPath, [MAIN, ...words]);
  child.stdout?.resume();
  child.stderr?.resume();
  return new Promise((resolve) => child.once('close', resolve));
}

const steering = (health: string) =>
  CONFIGURATION.parse({ mirrors: [{ url: MIRROR }], steering: { health: [health], least_kib: 64 } });

describe('early userspace that is sent to a mirror', () => {
  let site: Site;
  let lan: Lan;
  let nginx: Nginx;

  before(async () => {
    site = await siteOf(await labRelease({ prepare: (tree, keys) => addOverlay(tree, keys, 'ram') }));
    lan = await createLan();
    await lan.startDhcp({});
    nginx = await startNginx(
      join(site.release.folder, 'nginx'),
      [{ root: site.mirror, port: PORT }],
      LAN_ADDRESS,
      lan,
    );
  });
  after(async () => {
    await nginx?.stop();
    await lan?.close();
    await site?.release.remove();
  });

  async function boot(): Promise<string> {
    const { keys, tree } = site.release;
    const server = await startProduct(
      lan,
      { keys, state: site.state },
      {
        httpPort: 8080,
        tftpPort: false,
        configuration: steering(site.health),
      },
    );
    const reported = saidTo(server, 'reported');
    try {
      const log = await consoleOf(await bootDirect({ lan, tree, release: RELEASE, memoryMiB: 1024 }));
      assert.deepEqual(
        reported.map(({ outcome, root }) => [outcome, root]),
        [['verified', 'ram']],
      );
      return log;
    } finally {
      await server.stop();
    }
  }

  it('takes its root image from nginx, verified', async () => {
    assert.equal(await auditBy(lan, site), 0);
    const log = await boot();
    expectMilestones(log, [
      `bootseal: manifest verified, ${RELEASE}`,
      'bootseal: root image verified',
      'bootseal: root mounted',
      REAL_ROOT_LINE,
    ]);
    expectAbsent(log, ['fetched once more']);
    const asked = await nginx.asked();
    assert.ok(
      asked.some((line) => line.startsWith(`${PORT} 200 GET /${INSIDE}/${ROOTFS} `)),
      asked.join('\n'),
    );
  });

  it('asks the server itself where the mirror has lied since, and ends verified', async () => {
    await chmod(join(site.mirror, INSIDE, ROOTFS), 0o644);
    await flip(join(site.mirror, INSIDE, ROOTFS), -1);
    const log = await boot();
    expectMilestones(log, [
      `bootseal: ${ROOTFS} is not the root image that ${RELEASE} lists. It is fetched once more, from the server itself.`,
      'bootseal: root image verified',
      'bootseal: root mounted',
      REAL_ROOT_LINE,
    ]);
  });
});

const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('an iPXE that verifies and is sent to a mirror', {
  skip: folder === undefined ? unset : false,
}, () => {
  let site: Site;
  let lan: Lan;
  let nginx: Nginx;
  let server: RunningServer;

  before(async () => {
    const given = folder ?? '';
    assert.ok(existsSync(join(given, 'undionly.kpxe')));
    site = await siteOf(await labRelease({ keys: join(given, 'keys') }));
    const loaders = join(site.release.folder, 'loaders');
    await mkdir(loaders);
    await cp(join(given, 'undionly.kpxe'), join(loaders, 'undionly.kpxe'));
    lan = await createLan();
    nginx = await startNginx(
      join(site.release.folder, 'nginx'),
      [{ root: site.mirror, port: PORT }],
      LAN_ADDRESS,
      lan,
    );
    await lan.startDhcp({ bios: 'undionly.kpxe', ipxe: 'undionly.kpxe' });
    assert.equal(await auditBy(lan, site), 0);
    server = await startProduct(
      lan,
      { keys: site.release.keys, state: site.state },
      {
        httpPort: 8080,
        tftpPort: 69,
        loaders,
        configuration: steering(site.health),
      },
    );
  });
  after(async () => {
    await server?.stop();
    await nginx?.stop();
    await lan?.close();
    await site?.release.remove();
  });

  it('starts the kernel and the initrd that nginx sent, verified', async () => {
    const { log } = await (await bootQemu({ lan, firmware: 'bios' })).ended;
    expectMilestones(log, [
      `Verified: ${RELEASE}`,
      'Linux version',
      'bootseal-early: root mounted',
      REAL_ROOT_LINE,
    ]);
    const asked = await nginx.asked();
    for (const name of [KERNEL, INITRD])
      assert.ok(
        asked.some((line) => line.startsWith(`${PORT} 200 GET /${INSIDE}/${name} `)),
        asked.join('\n'),
      );
  });
});
