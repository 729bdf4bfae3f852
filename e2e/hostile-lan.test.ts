import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type ServingCli, serveByCli } from '../lab/cli.ts';
import { expectAbsent, type Milestone } from '../lab/console.ts';
import { KERNEL_BANNER } from '../lab/grub.ts';
import { LAN_ADDRESS } from '../lab/lan.ts';
import { GROUPS, MACHINES, MACHINES_URL, type MachinesLan, machinesLan } from '../lab/machines-lan.ts';
import { hostileNeighbour, NEIGHBOUR_ADDRESS, type Neighbour } from '../lab/neighbour.ts';
import { bootQemu, type QemuOptions } from '../lab/qemu.ts';
import { type RunningServer, startStatic } from '../lab/servers.ts';
import { buildGrubLoaders } from '../src/index.ts';

/**
 * A LAN with somebody on it who answers for others: over DHCP, by ARP and over HTTP. What a loader that
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
});
