import assert from 'node:assert/strict';
import { appendFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { openBrowser, watchBoot } from '../lab/browser.ts';
import { DHCP_SERVERS } from '../lab/dhcp-servers.ts';
import { CARD, createHost } from '../lab/host.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { addOverlay } from '../lab/overlay.ts';
import { bootQemu, type QemuMachine } from '../lab/qemu.ts';
import { KERNEL, type LabRelease, labRelease } from '../lab/release.ts';
import { type RunningServer, startProduct } from '../lab/servers.ts';
import { buildGrubLoaders, publish, type Receipt } from '../src/index.ts';

/**
 * Real machines that stop at each stage of a boot, and what the server says of each: where it stopped, and why, or that it
 * has stalled. What stops them is what stops machines: a firewall, a file that changed, a processor that cannot, a power cut.
 */

/** GRUB 2.06 reaches HTTP on port 80 only. */
const URL = `http://${LAN_ADDRESS}`;
const PATIENCE = 15 * 60_000;
const RELEASE = 'arch/2026.11.01';
const STAGES = ['dhcp', 'loader', 'script', 'kernel', 'initrd', 'userspace', 'root', 'report'];

/** Whose boots they are, by where they stop. */
const MACHINES = {
  dhcp: '52:54:00:57:00:01',
  loader: '52:54:00:57:00:02',
  script: '52:54:00:57:00:03',
  kernel: '52:54:00:57:00:04',
  initrd: '52:54:00:57:00:05',
  userspace: '52:54:00:57:00:06',
  root: '52:54:00:57:00:07',
  report: '52:54:00:57:00:08',
} as const;

/** Boots as a server tells of them. */
class Told {
  #text = '';
  #waiting: { readonly fits: (receipt: Receipt) => boolean; readonly found: (receipt: Receipt) => void }[] =
    [];
  readonly last = new Map<string, Receipt>();

  readonly hear = (piece: Buffer): void => {
    this.#text += piece.toString('utf8');
    for (let end = this.#text.indexOf('\n'); end !== -1; end = this.#text.indexOf('\n')) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 1);
      if (!line.startsWith('boot ')) continue;
      const receipt = JSON.parse(line.slice(5)) as Receipt;
      this.last.set(receipt.boot, receipt);
      const [ready, rest] = [
        this.#waiting.filter(({ fits }) => fits(receipt)),
        this.#waiting.filter(({ fits }) => !fits(receipt)),
      ];
      this.#waiting = rest;
      for (const { found } of ready) found(receipt);
    }
  };

  /** The next receipt that fits, or one that was told last of some boot and does. */
  until(fits: (receipt: Receipt) => boolean): Promise<Receipt> {
    const known = [...this.last.values()].find(fits);
    if (known) return Promise.resolve(known);
    return new Promise((found) => this.#waiting.push({ fits, found }));
  }
}

describe('a boot that stops is shown where it stopped', () => {
  let release: LabRelease;
  let lan: Lan;
  let other: Lan;
  let dhcp: RunningServer | undefined;
  let server: RunningServer;
  let state: string;
  let browser: Browser;
  const told = new Told();

  before(async () => {
    release = await labRelease({
      url: URL,
      free: ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url'],
      prepare: (tree: string, keys: string) => addOverlay(tree, keys, 'verity'),
    });
    const { keys } = release;
    const anchors = join(keys, 'anchors');
    state = join(release.folder, 'state');
    const { refusal } = await publish({
      tree: release.tree,
      anchors,
      channel: 'stable',
      state,
      now: Date.now(),
    });
    if (refusal) throw refusal;
    const loaders = join(release.folder, 'loaders');
    await buildGrubLoaders({ anchors: keys, out: loaders, url: URL, now: Date.now() });
    lan = await createLan();
    other = await createHost(lan, '10.77.0.2/24');
    dhcp = await DHCP_SERVERS.dnsmasq?.({ host: other, card: CARD, address: '10.77.0.2' });
    server = await startProduct(
      lan,
      { keys, state },
      {
        ...{ httpPort: 80, tftpPort: 69, loaders },
        proxyDhcp: { interfaces: ['br0'] },
        configuration: { receipts: { keep_days: 1, keep_mib: 32, patience: 0.2 } },
      },
    );
    server.child.stdout?.on('data', told.hear);
    browser = await openBrowser(lan);
    await lan.execute('nft', ['add', 'table', 'inet', 'lab']);
    await lan.execute('nft', [
      'add',
      'chain',
      'inet',
      'lab',
      'in',
      '{ type filter hook input priority 0 ; }',
    ]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    await dhcp?.stop();
    await other?.close();
    await lan?.close();
    await release?.remove();
  });

  /** A firewall from now on: what a machine sends to a port is lost, or answered with a reset. */
  const block = (mac: string, protocol: 'udp' | 'tcp', port: number, ...answer: string[]) => {
    const what = ['ether', 'saddr', mac, protocol, 'dport', String(port)];
    return lan.execute('nft', [
      'add',
      'rule',
      'inet',
      'lab',
      'in',
      ...what,
      ...(answer[0] ? answer : ['drop']),
    ]);
  };

  const start = (mac: string, processor = 'qemu64'): Promise<QemuMachine> =>
    bootQemu({ lan, firmware: 'bios', mac, extra: ['-cpu', processor], hungAfter: PATIENCE });

  const reaches = (mac: string, stage: Receipt['stage']) =>
    told.until(({ machine, stages }) => machine === mac && stages.some((each) => each.stage === stage));

  /** On a busy host a machine may seem to have stalled before it stops where it is to. */
  const ends = (mac: string, how: Receipt['outcome'], at: Receipt['stage']) =>
    told.until(({ machine, outcome, stage }) => machine === mac && outcome === how && stage === at);

  /** @param power until which stage there is any. */
  const stops = async (
    name: keyof typeof MACHINES,
    how: Receipt['outcome'],
    { power, processor }: { power?: Receipt['stage']; processor?: string } = {},
  ): Promise<Receipt> => {
    const mac = MACHINES[name];
    const machine = await start(mac, processor);
    try {
      if (power !== undefined) {
        await reaches(mac, power);
        await machine.kill();
      }
      return await ends(mac, how, name);
    } finally {
      await machine.kill();
    }
  };

  it('dhcp: a firewall lets no TFTP through', async () => {
    await block(MACHINES.dhcp, 'udp', 69);
    const { stages } = await stops('dhcp', 'stalled');
    assert.deepEqual(
      stages.map(({ stage }) => stage),
      ['dhcp'],
    );
  });

  it('loader: the power goes when it has its loader', async () => {
    const { loader, stages } = await stops('loader', 'stalled', { power: 'loader' });
    assert.equal(loader, 'bootseal-grub.0');
    assert.equal(stages.find(({ stage }) => stage === 'loader')?.join, 'neighbour');
  });

  it('script: the power goes when it has its script', async () => {
    const { route, trust } = await stops('script', 'stalled', { power: 'script' });
    assert.deepEqual([route, trust], ['grub', 'grub']);
  });

  it('initrd: the kernel is for another processor, and ends', async () => {
    const { release: booted } = await stops('initrd', 'stalled', { processor: 'pentium3' });
    assert.equal(booted, RELEASE);
  });

  it('userspace: a firewall lets no NBD through; the machine says why it stopped', async () => {
    await block(MACHINES.userspace, 'tcp', 10_809, 'reject', 'with', 'tcp', 'reset');
    const { code, message, by, lines } = await stops('userspace', 'refused');
    assert.deepEqual([code, by], ['unreachable', 'report'], message);
    assert.ok(lines.length > 0);
  });

  it('root: nothing is heard any more when it has its root', async () => {
    const machine = await start(MACHINES.root);
    await reaches(MACHINES.root, 'root');
    await block(MACHINES.root, 'tcp', 80);
    await ends(MACHINES.root, 'stalled', 'root');
    await machine.kill();
  });

  it('report: a whole boot, verified, as the machine says; an open page shows it moving, and green', async () => {
    let receipt: Receipt | undefined;
    const seen = await watchBoot(browser, URL, MACHINES.report, async () => {
      receipt = await stops('report', 'verified');
    });
    assert.deepEqual([seen.outcome, seen.loads, seen.complaints], ['verified (claimed)', 1, []]);
    assert.match(seen.row, /\bgood\b/);
    assert.deepEqual(
      seen.stages,
      seen.stages.toSorted((one, other) => STAGES.indexOf(one) - STAGES.indexOf(other)),
    );
    for (const stage of ['dhcp', 'kernel', 'initrd']) assert.ok(seen.stages.includes(stage), stage);
    const { release: booted, by, root, stages = [], rootHash } = receipt ?? {};
    assert.deepEqual([booted, by, root], [RELEASE, 'report', 'verity']);
    assert.match(rootHash ?? '', /^[0-9a-f]{64}$/);
    assert.deepEqual(
      stages.map(({ stage }) => stage),
      STAGES,
    );
    for (const { stage, begin, end } of stages) assert.ok(end === undefined || end >= begin, stage);
  });

  it('kernel: a file that changed on disk is refused, with the reason', async () => {
    const path = join(state, 'releases', RELEASE, KERNEL);
    await chmod(path, 0o644);
    await appendFile(path, 'x');
    const seen = await watchBoot(browser, URL, MACHINES.kernel, async () => {
      const { code, by } = await stops('kernel', 'refused');
      assert.deepEqual([code, by], ['drifted', 'server']);
    });
    assert.deepEqual([seen.outcome, seen.complaints], ['REFUSED', []]);
    assert.match(seen.row, /\bbad\b/);
  });

  it('says the same by the command, in a table', async () => {
    const { stdout } = await lan.execute(process.execPath, [
      join(import.meta.dirname, '../src/cli/main.js'),
      ...['boots', '--state', state, '--failed'],
    ]);
    for (const [stage, mac] of Object.entries(MACHINES)) {
      const line = stdout.split('\n').find((each) => each.includes(mac));
      assert.equal(line === undefined, stage === 'report', stdout);
    }
    assert.match(stdout, /drifted: /);
    assert.match(stdout, /STALLED +dhcp/);
  });
});
