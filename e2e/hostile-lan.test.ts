import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type ServingCli, serveByCli } from '../lab/cli.ts';
import { expectAbsent, type Milestone } from '../lab/console.ts';
import { KERNEL_BANNER } from '../lab/grub.ts';
import { LAN_ADDRESS } from '../lab/lan.ts';
import {
  GROUPS,
  loaderFolder,
  MACHINES,
  MACHINES_URL,
  type MachinesLan,
  machinesLan,
} from '../lab/machines-lan.ts';
import { hostileNeighbour, NEIGHBOUR_ADDRESS, type Neighbour } from '../lab/neighbour.ts';
import { bootQemu, type QemuOptions } from '../lab/qemu.ts';
import { type RunningServer, startStatic } from '../lab/servers.ts';
import { buildGrubLoaders } from '../src/index.ts';
import { readAnchorFolder } from '../src/trust/anchor-folder.ts';
import { anchorId } from '../src/trust/anchors.ts';

/**
 * A LAN with somebody on it who answers for others: over DHCP, by ARP, over TFTP and over HTTP. What a loader that
 * verifies makes of that, and what one that does not. docs/hostile-lan.md says the same to people; the quiet half of each
 * pair is `lan-machines.test.ts`.
 */

const PATIENCE = 15 * 60_000;
const PLANTED = 'PLANTED RAN';

/** A machine that is switched off as soon as it has shown these. */
async function until(
  { lan }: MachinesLan,
  mac: string,
  milestones: readonly Milestone[],
  more: Pick<QemuOptions, 'nic'> = {},
): Promise<string> {
  const machine = await bootQemu({ lan, mac, firmware: 'bios', hungAfter: PATIENCE, ...more });
  await machine.waitFor(milestones);
  await machine.kill();
  return machine.log();
}

/** A web server of the neighbour's over a folder, at all its addresses. */
interface RogueSite extends RunningServer {
  readonly folder: string;
  put(path: string, text: string): Promise<void>;
  /** Takes what the real server hands to whoever asks for `path`, as any neighbour can, and hands it out at `as`. */
  steal(path: string, as?: string): Promise<void>;
  /** `200 GET /grub.cfg` */
  requests(): readonly string[];
}

async function rogueSite({ host }: Neighbour, place: MachinesLan, port: number): Promise<RogueSite> {
  const folder = join(place.folder, `rogue-${port}`);
  await mkdir(folder);
  const server = await startStatic(host, folder, port, '0.0.0.0');
  let said = '';
  server.child.stdout?.on('data', (piece: Buffer) => {
    said += piece.toString('latin1');
  });
  const file = async (path: string) => {
    const at = join(folder, path);
    await mkdir(dirname(at), { recursive: true });
    return at;
  };
  return {
    ...server,
    folder,
    put: async (path, text) => writeFile(await file(path), text),
    async steal(path, as = path) {
      const url = `http://${LAN_ADDRESS}:${port}${path}`;
      const { status, stderr } = await host.execute('curl', ['-sSf', '-o', await file(as), url]);
      assert.equal(status, 0, stderr);
    },
    requests: () => said.split('\n'),
  };
}

function serving(place: MachinesLan, loaders: string, more: readonly string[]): Promise<ServingCli> {
  return serveByCli(place.lan, [
    ...['--state', place.state, '--anchors', place.anchors, '--channel', GROUPS.lab.channel],
    ...['--loaders', loaders, '--proxydhcp', 'br0', ...more],
  ]);
}

describe('a LAN with a hostile neighbour', () => {
  let place: MachinesLan;
  let neighbour: Neighbour;
  let loaders: string;

  before(async () => {
    place = await machinesLan();
    loaders = join(place.folder, 'loaders');
    const anchors = place.keys;
    await buildGrubLoaders({ anchors, out: loaders, url: MACHINES_URL, now: Date.now() });
    // GRUB 2.06 reaches no other port by HTTP, so this one asks by TFTP.
    const byTftp = join(place.folder, 'by-tftp');
    await buildGrubLoaders({ anchors, out: byTftp, url: `${MACHINES_URL}:8080`, now: Date.now() });
    await loaderFolder(loaders, join(byTftp, 'bootseal-grub.0'), 'by-tftp.0');
    neighbour = await hostileNeighbour(place.lan);
  });
  after(async () => {
    await neighbour?.close();
    await place?.close();
  });

  it('who has the server’s address by ARP hands a GRUB that verifies nothing that it starts; a stock loader starts anything', async () => {
    const server = await serving(place, loaders, ['--http-port', '80']);
    const site = await rogueSite(neighbour, place, 80);
    const own = `/machines/${MACHINES.kiosk}/grub.cfg`;
    await site.put(own, `echo "${PLANTED}"\n`);
    await site.steal(`${own}.sig`);
    for (const suffix of ['', '.sig'])
      await site.steal(`/machines/${MACHINES.lab}/grub.cfg${suffix}`, `/grub.cfg${suffix}`);
    await site.put('/planted.ipxe', `#!ipxe\necho ${PLANTED}\nsleep 600\n`);
    const arp = await neighbour.stealServerFrom(MACHINES.kiosk);
    // The real server tells this one nothing; a ROM takes what anybody says.
    const dhcp = neighbour.offer({
      mac: MACHINES.banned,
      file: `http://${NEIGHBOUR_ADDRESS}/planted.ipxe`,
      to: 'rom',
    });
    try {
      const [verifying] = await Promise.all([
        until(place, MACHINES.kiosk, [
          // Not signed: passed over. Signed, and another machine's: refused.
          `Fetching and verifying (http,${LAN_ADDRESS})${own}`,
          `Fetching and verifying (http,${LAN_ADDRESS})/grub.cfg`,
          'REFUSED: this configuration is for other machines.',
          'Nothing was started',
        ]),
        until(place, MACHINES.banned, [PLANTED]),
      ]);
      expectAbsent(verifying, [PLANTED, ...KERNEL_BANNER]);
      assert.ok(arp.sent() > 0);
      assert.ok(dhcp.sent() > 0);
      for (const path of [own, `${own}.sig`, '/grub.cfg', '/grub.cfg.sig', '/planted.ipxe'])
        assert.ok(site.requests().includes(`200 GET ${path}`), path);
    } finally {
      arp.stop();
      dhcp.stop();
      await site.stop();
      await neighbour.giveServerBack();
      await server.stop();
    }
  });

  it('data put into transfers of TFTP: from a wrong port it changes nothing, from the right one the file is refused', async () => {
    const config = join(place.folder, 'serve.toml');
    await writeFile(config, '[proxydhcp.loaders]\nbios = "by-tftp.0"\n');
    const server = await serving(place, loaders, ['--config', config]);
    const wrong = neighbour.inject({ mac: MACHINES.kiosk, file: 'grub.cfg', transfer: 'wrong' });
    const right = neighbour.inject({ mac: MACHINES.kiosk, file: 'vmlinuz-linux', transfer: 'right' });
    try {
      const log = await until(place, MACHINES.kiosk, [
        `Fetching and verifying (tftp,${LAN_ADDRESS})/machines/${MACHINES.kiosk}/grub.cfg`,
        'REFUSED: ',
        'Nothing was started',
      ]);
      expectAbsent(log, KERNEL_BANNER);
      assert.ok(wrong.sent() > 0);
      assert.ok(right.sent() > 0);
    } finally {
      wrong.stop();
      right.stop();
      await server.stop();
    }
  });
});

const folder = process.env.BOOTSEAL_IPXE;
const verifying = folder !== undefined && existsSync(join(folder, 'undionly.kpxe'));
const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('the same neighbour, and an iPXE that verifies', { skip: verifying ? false : unset }, () => {
  it('is sent to the neighbour’s web server by an offer of his, and starts nothing of what that hands out', async () => {
    const place = await machinesLan(join(folder ?? '', 'keys'));
    const file = join(folder ?? '', 'undionly.kpxe');
    const loaders = await loaderFolder(join(place.folder, 'ipxe'), file, 'undionly.kpxe');
    const neighbour = await hostileNeighbour(place.lan);
    const server = await serving(place, loaders, []);
    const site = await rogueSite(neighbour, place, 8080);
    // The ROM is left alone: it would start anything.
    const dhcp = neighbour.offer({
      mac: MACHINES.kiosk,
      file: `http://${NEIGHBOUR_ADDRESS}:8080/boot.ipxe`,
      to: 'loader',
    });
    try {
      for (const suffix of ['', '.sig'])
        await site.steal(`/machines/${MACHINES.lab}/boot.ipxe${suffix}`, `/boot.ipxe${suffix}`);
      const others = await until(place, MACHINES.kiosk, [
        'REFUSED: could not start it here: this script is for other machines',
        'Nothing was started',
      ]);
      const [ca] = (await readAnchorFolder(place.anchors)).ca;
      assert.ok(ca);
      const anchored = `/anchors/${anchorId(ca)}/boot.ipxe`;
      await site.put(anchored, `#!ipxe\necho ${PLANTED}\n`);
      await site.steal(`/machines/${MACHINES.kiosk}/boot.ipxe.sig`, `${anchored}.sig`);
      const forged = await until(place, MACHINES.kiosk, [
        'REFUSED: could not verify boot.ipxe',
        'these are not the bytes that were signed',
        'Nothing was started',
      ]);
      for (const log of [others, forged]) expectAbsent(log, [PLANTED, ...KERNEL_BANNER]);
      for (const path of ['/boot.ipxe', '/boot.ipxe.sig', anchored, `${anchored}.sig`])
        assert.ok(site.requests().includes(`200 GET ${path}`), path);
    } finally {
      dhcp.stop();
      await site.stop();
      await server.stop();
      await neighbour.close();
      await place.close();
      await rm(site.folder, { recursive: true, force: true });
    }
  });
});
