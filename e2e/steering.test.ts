import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
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
import { publish, renewChannel } from '../src/index.ts';
import { CONFIGURATION } from '../src/server/configuration.ts';

/**
 * A server that sends machines to mirrors by a real nginx, which `bootseal mirror audit` looked at: the server decides, and
 * the bytes are nginx'.
 */
const RELEASE = 'arch/2026.11.01';
const INSIDE = `releases/${RELEASE}`;
const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const MIRRORS = { honest: 9001, stale: 9002, tampering: 9003 } as const;
type Mirror = keyof typeof MIRRORS;
const PORT = MIRRORS.honest;
const urlOf = (name: Mirror) => `http://${LAN_ADDRESS}:${MIRRORS[name]}/`;
const folder = process.env.BOOTSEAL_IPXE;

interface Site {
  readonly release: LabRelease;
  /** What the server has, as it was pulled from the mirrors. */
  readonly state: string;
  readonly mirrors: Readonly<Record<Mirror, string>>;
  readonly nginx: Nginx;
  readonly health: string;
}

/** A release that somebody else publishes, three mirrors of it, and a state that was pulled from the one that is honest. */
async function siteOf(release: LabRelease, lan: Lan): Promise<Site> {
  const { keys, tree } = release;
  const anchors = join(keys, 'anchors');
  const upstream = join(release.folder, 'upstream');
  const given = { channel: 'stable', state: upstream, snapshotKey: keys };
  const { refusal } = await publish({ ...given, tree, anchors, now: Date.now() });
  if (refusal) throw refusal;
  const copy = async (name: Mirror) => {
    const mirror = join(release.folder, name);
    for (const part of ['channels', 'releases'])
      await cp(join(upstream, part), join(mirror, part), { recursive: true });
    return mirror;
  };
  const stale = await copy('stale');
  await renewChannel({ ...given, now: Date.now() });
  const mirrors = { stale, honest: await copy('honest'), tampering: await copy('tampering') };
  await change(mirrors.tampering);
  const sites = (['honest', 'stale', 'tampering'] as const).map((name) => ({
    root: mirrors[name],
    port: MIRRORS[name],
  }));
  const nginx = await startNginx(join(release.folder, 'nginx'), sites, LAN_ADDRESS, lan);
  const site = {
    ...{ release, mirrors, nginx },
    state: join(release.folder, 'state'),
    health: join(release.folder, 'health'),
  };
  const { status, json } = await runIn(lan, [
    ...['mirror', 'pull', urlOf('tampering'), '--mirror', urlOf('stale'), '--mirror', urlOf('honest')],
    ...['--channel', 'stable', '--state', site.state, '--anchors', anchors, '--json'],
  ]);
  assert.equal(status, 0, JSON.stringify(json));
  return site;
}

/** Flips the last byte of a mirror's root image. */
async function change(mirror: string): Promise<void> {
  await chmod(join(mirror, INSIDE, ROOTFS), 0o644);
  await flip(join(mirror, INSIDE, ROOTFS), -1);
}

/** Runs a command of ours inside the LAN. */
async function runIn(lan: Lan, words: readonly string[]): Promise<{ status: number | null; json: unknown }> {
  const child = lan.spawn(process.execPath, [MAIN, ...words]);
  child.stderr?.resume();
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
  const printed = await text(child.stdout as Readable);
  return { status: await closed, json: JSON.parse(printed) };
}

/** What a timer runs: looks at the three mirrors. @returns each one's verdict. */
async function auditBy(lan: Lan, { release, health }: Site): Promise<Record<string, string>> {
  const anchors = join(release.keys, 'anchors');
  const urls = [urlOf('honest'), urlOf('stale'), urlOf('tampering')];
  const words = ['mirror', 'audit', ...urls, '--channel', 'stable', '--anchors', anchors];
  const { status, json } = await runIn(lan, [...words, '--complete', '--out', health, '--json']);
  assert.equal(status, 1);
  const { mirrors } = json as { mirrors: readonly { url: string; verdict: string }[] };
  return Object.fromEntries(mirrors.map(({ url, verdict }) => [url, verdict]));
}

const FOUND = {
  [urlOf('honest')]: 'verified',
  [urlOf('stale')]: 'stale',
  [urlOf('tampering')]: 'drifted',
};

const steering = (health: string) =>
  CONFIGURATION.parse({
    mirrors: [{ url: urlOf('honest') }, { url: urlOf('stale') }, { url: urlOf('tampering') }],
    steering: { health: [health], least_kib: 64 },
  });

describe('early userspace that is sent to a mirror', () => {
  let site: Site;
  let lan: Lan;

  before(async () => {
    lan = await createLan();
    await lan.startDhcp({});
    site = await siteOf(await labRelease({ prepare: (tree, keys) => addOverlay(tree, keys, 'ram') }), lan);
  });
  after(async () => {
    await site?.nginx.stop();
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
    assert.deepEqual(await auditBy(lan, site), FOUND);
    const log = await boot();
    expectMilestones(log, [
      `bootseal: manifest verified, ${RELEASE}`,
      'bootseal: root image verified',
      'bootseal: root mounted',
      REAL_ROOT_LINE,
    ]);
    expectAbsent(log, ['fetched once more']);
    const asked = await site.nginx.asked();
    assert.ok(
      asked.some((line) => line.startsWith(`${PORT} 200 GET /${INSIDE}/${ROOTFS} `)),
      asked.join('\n'),
    );
  });

  it('asks the server itself where the mirror has lied since, and ends verified', async () => {
    await change(site.mirrors.honest);
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
  let server: RunningServer;

  before(async () => {
    const given = folder ?? '';
    assert.ok(existsSync(join(given, 'undionly.kpxe')));
    lan = await createLan();
    site = await siteOf(await labRelease({ keys: join(given, 'keys') }), lan);
    const loaders = join(site.release.folder, 'loaders');
    await mkdir(loaders);
    await cp(join(given, 'undionly.kpxe'), join(loaders, 'undionly.kpxe'));
    await lan.startDhcp({ bios: 'undionly.kpxe', ipxe: 'undionly.kpxe' });
    assert.deepEqual(await auditBy(lan, site), FOUND);
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
    await site?.nginx.stop();
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
    const asked = await site.nginx.asked();
    for (const name of [KERNEL, INITRD])
      assert.ok(
        asked.some((line) => line.startsWith(`${PORT} 200 GET /${INSIDE}/${name} `)),
        asked.join('\n'),
      );
  });
});
