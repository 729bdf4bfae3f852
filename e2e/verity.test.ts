import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { appendFile, cp, mkdir, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { addOverlay, bootDirect, consoleOf } from '../lab/overlay.ts';
import { bootQemu, type QemuMachine } from '../lab/qemu.ts';
import { INITRD, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { labRootfs, NETWORK_LINE, REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { type RunningServer, startCuttingRelay, startProduct } from '../lab/servers.ts';
import { buildGrubLoaders } from '../src/index.ts';

/**
 * Mode `verity` with nothing but the product: loader, kernel and overlay over TFTP and HTTP, then root image and hash
 * tree over NBD, all from one `bootseal serve`.
 */
const URL = 'http://10.77.0.1';
const EXPORT = 'arch/2026.11.01/airootfs';
const MOUNTED = 'bootseal: root mounted, arch/2026.11.01';
const FROM_KERNEL = [
  'bootseal: started',
  'bootseal: network up',
  'bootseal: manifest verified, arch/2026.11.01',
  'bootseal: dm-verity over NBD, root hash',
  MOUNTED,
  'bootseal: starting /sbin/init',
  REAL_ROOT_LINE,
];
const WHOLE_CHAIN = ['Verified: arch/2026.11.01', ...FROM_KERNEL];

/** Bootseal's server, and what it logged. */
interface Product extends RunningServer {
  log(): string;
  /** Resolves when its log has shown these words. */
  logged(words: string): Promise<void>;
  /** Ends it as a power cut would. */
  crash(): Promise<void>;
}

async function product(
  lan: Lan,
  release: LabRelease,
  options: Parameters<typeof startProduct>[2],
): Promise<Product> {
  const server = await startProduct(lan, release, options);
  let log = '';
  server.child.stdout?.on('data', (piece: Buffer) => {
    log += piece.toString('utf8');
  });
  return {
    ...server,
    log: () => log,
    async logged(words) {
      while (!log.includes(words)) {
        await new Promise((resolve) => server.child.stdout?.once('data', resolve));
      }
    },
    async crash() {
      const gone = new Promise((resolve) => server.child.once('exit', resolve));
      server.child.kill('SIGKILL');
      await gone;
    },
  };
}

/** The root image was read as blocks, and never as a file. */
function expectReadInPlace(server: Product): void {
  assert.match(server.log(), new RegExp(`nbd: started .*"asked":"${EXPORT}"`));
  assert.match(server.log(), new RegExp(`nbd: started .*"asked":"${EXPORT}\\.verity"`));
  assert.doesNotMatch(server.log(), /"asked":"[^"]*airootfs\.sfs"/);
}

describe('mode verity, from loader to systemd, by the product alone', () => {
  let release: LabRelease;
  let lan: Lan;

  before(async () => {
    release = await labRelease({
      url: URL,
      prepare: async (tree, keys) => {
        // The kernel drops an archive that does not begin at a multiple of four bytes: loaders must pad.
        const { size } = await stat(join(tree, INITRD));
        if (size % 4 === 0) await appendFile(join(tree, INITRD), Buffer.alloc(1));
        await addOverlay(tree, keys, 'verity');
      },
    });
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  it('GRUB that enforces signatures starts it', async () => {
    const loaders = join(release.folder, 'loaders');
    await buildGrubLoaders({ anchors: release.keys, out: loaders, url: URL, now: Date.now() });
    const loader = 'bootseal-grub.0';
    const dhcp = await lan.startDhcp({ bios: loader, ipxe: loader });
    const server = await product(lan, release, { httpPort: 80, tftpPort: 69, loaders });
    const { log } = await (await bootQemu({ lan, firmware: 'bios' })).ended;
    await server.stop();
    await dhcp.stop();
    expectMilestones(log, WHOLE_CHAIN);
    expectAbsent(log, ['REFUSED', 'bootseal-early:']);
    expectReadInPlace(server);
  });

  describe('when the server does not do as it should', () => {
    before(async () => {
      await lan.startDhcp({});
    });

    it('reads on from a server that was killed and started again, twice', async () => {
      let server = await serve();
      const machine = await start();
      await machine.waitFor([MOUNTED]);
      // The second time the first device is the spare one.
      for (const _ of [1, 2]) {
        await server.crash();
        await machine.waitFor(['Receive control failed']);
        assert.equal(machine.log().includes(REAL_ROOT_LINE), false);
        server = await serve();
        await machine.waitFor([`is back, and ${EXPORT} is read on`]);
      }
      const log = await consoleOf(machine);
      await server.stop();
      expectMilestones(log, FROM_KERNEL);
      assert.match(server.log(), new RegExp(`nbd: started .*"asked":"${EXPORT}"`));
    });

    it('a whole Debian with networkd leaves its network card as it is, and comes to a login prompt', async () => {
      const login = await labRelease({
        keys: release.keys,
        url: URL,
        prepare: async (tree, keys) => {
          await cp(await labRootfs('login'), join(tree, ROOTFS));
          await addOverlay(tree, keys, 'verity');
        },
      });
      const server = await serve(login);
      const machine = await start(login);
      await machine.waitFor(['bootseal: network up', 'bootseal-lab login:']);
      const log = machine.log();
      await machine.kill();
      await server.stop();
      await login.remove();
      const address = /network up on \S+, ([0-9.]+)/.exec(log)?.[1] ?? 'none';
      expectMilestones(log, [
        MOUNTED,
        `${NETWORK_LINE} ${address} ADMIN_STATE=unmanaged ADMIN_STATE=configured`,
      ]);
    });

    it('goes on trying where the server is killed before root image and hash tree are open', async () => {
      const first = await serve();
      const machine = await start();
      await first.logged('nbd: started');
      await first.crash();
      await machine.waitFor([/bootseal: the NBD server on 10\.77\.0\.1:10809 (gives|is not there)/]);
      const second = await serve();
      const log = await consoleOf(machine);
      await second.stop();
      expectMilestones(log, FROM_KERNEL);
    });

    it('goes on where connections end while its devices are made of them', async () => {
      const nbdPort = 10_810;
      const server = await product(lan, release, { httpPort: 80, tftpPort: false, nbdPort });
      const relay = await startCuttingRelay(lan, { port: 10_809, onward: nbdPort, cuts: 4, ms: 20 });
      const log = await consoleOf(await start());
      await relay.stop();
      await server.stop();
      expectMilestones(log, FROM_KERNEL);
      // Four that were cut, and those that were not.
      assert.ok([...server.log().matchAll(/nbd: started/g)].length >= 6, server.log());
    });

    it('never gets a block of an image that was changed on disk', async () => {
      const server = await serve();
      const restore = await change(release);
      const log = await consoleOf(await start());
      await restore();
      await server.stop();
      expectMilestones(log, [
        'bootseal: manifest verified, arch/2026.11.01',
        `bootseal: REFUSED unreachable The NBD server on 10.77.0.1:10809 gives no ${EXPORT}: `,
        'drifted: the export is not served',
        'The machine is halted.',
      ]);
      expectAbsent(log, [MOUNTED, REAL_ROOT_LINE]);
      assert.match(server.log(), /not served any more .*drifted/);
    });

    it('waits, and says why, while the image is changed under it, and goes on when it is whole again', async () => {
      const first = await serve();
      const machine = await start();
      await machine.waitFor([MOUNTED]);
      const restore = await change(release);
      await machine.waitFor([
        `bootseal: the NBD server on 10.77.0.1:10809 answers reads of ${EXPORT} with errors, and its log says why`,
      ]);
      assert.equal(machine.log().includes(REAL_ROOT_LINE), false);
      assert.match(first.log(), /not served any more .*drifted/);
      await restore();
      await first.stop();
      const second = await serve();
      const log = await consoleOf(machine);
      await second.stop();
      expectMilestones(log, FROM_KERNEL);
    });
  });

  const serve = (of = release): Promise<Product> => product(lan, of, { httpPort: 80, tftpPort: false });

  const start = (of = release): Promise<QemuMachine> =>
    bootDirect({
      ...{ lan, tree: of.tree, release: of.release },
      commandLine: (line) => line.replace(/(archiso_http_srv=http:\/\/[^/:]+):8080/, '$1'),
    });
});

/** Changes one byte of the root image, in the middle of a file system that is in use. @returns what undoes it. */
async function change(release: LabRelease): Promise<() => Promise<void>> {
  const image = await open(join(release.tree, ROOTFS), 'r+');
  const octet = Buffer.alloc(1);
  const middle = (await image.stat()).size >> 1;
  await image.read(octet, 0, 1, middle);
  await image.write(Buffer.from([(octet[0] ?? 0) ^ 1]), 0, 1, middle);
  return async () => {
    await image.write(octet, 0, 1, middle);
    await image.close();
  };
}

const folder = process.env.BOOTSEAL_IPXE;
const LOADER = 'undionly.kpxe';
const verifying = folder !== undefined && existsSync(join(folder, LOADER));
const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('mode verity behind an iPXE that verifies', { skip: verifying ? false : unset }, () => {
  it('boots by the product alone', async () => {
    const given = folder ?? '';
    const release = await labRelease({
      keys: join(given, 'keys'),
      prepare: (tree, keys) => addOverlay(tree, keys, 'verity'),
    });
    const loaders = join(release.folder, 'loaders');
    await mkdir(loaders);
    await cp(join(given, LOADER), join(loaders, LOADER));
    const lan = await createLan();
    try {
      await lan.startDhcp({ bios: LOADER, ipxe: LOADER });
      const server = await product(lan, release, { httpPort: 8080, tftpPort: 69, loaders });
      const { log } = await (await bootQemu({ lan, firmware: 'bios' })).ended;
      await server.stop();
      expectMilestones(log, WHOLE_CHAIN);
      expectAbsent(log, ['UNVERIFIED', 'REFUSED', 'bootseal-early:']);
      expectReadInPlace(server);
    } finally {
      await lan.close();
      await release.remove();
    }
  });
});
