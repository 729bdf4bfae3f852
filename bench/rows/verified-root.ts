import { cp, link, mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../lab/command.ts';
import { createLan, type Lan } from '../../lab/lan.ts';
import { addOverlay, bootDirect } from '../../lab/overlay.ts';
import { type LabRelease, labRelease, ROOTFS } from '../../lab/release.ts';
import { labRootfs } from '../../lab/rootfs.ts';
import { startProduct } from '../../lab/servers.ts';
import { compare, seconds } from '../frame/compare.ts';
import { fill } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';

const MEGABYTE = 1_000_000;
const MEMORY_MIB = 2048;
/** A boot takes half a minute, and its time is steadier than that of a short program. */
const MOST_ROUNDS = 3;
/**
 * Between which lines time is taken. Verity: everything from "network up". Archiso: what archiso itself does; its
 * stand-in also verifies the manifest, before the first line and after the last one.
 */
const WAYS = {
  verity: { since: 'bootseal: network up', done: 'bootseal: root mounted' },
  archiso: { since: 'bootseal-early: manifest verified', done: 'bootseal-early: CMS verified' },
} as const;
type Way = keyof typeof WAYS;

/** Of image, with the goal. 46 MB is a Debian with a login prompt, and nothing more. */
const SIZES = [
  ['verified-root/46', 46, 2],
  ['verified-root/100', 100, 4],
  ['verified-root/900', 900, 25],
] as const;

const LIMIT =
  'What is left is the same for every image: programs that start, in a machine that is emulated without KVM. Half of it and more verifies the manifest (six runs of openssl, which archiso’s time does not hold); the rest is a second seal, two block devices, dm-multipath and dm-verity. Looking devices up without dmsetup took half of that rest away.';

/**
 * From "network up" to a verified and mounted root: mode verity beside archiso's way (download all of it, sha512sum,
 * gpg, openssl cms), in the same virtual machine, with the same images. On hardware the ratio is smaller and the shape
 * the same, since the emulated machine's hashing is several times slower than its network. Needs root.
 */
export const part: Part = {
  name: 'verified-root',
  rows: [
    ...SIZES.map(([name, megabytes, atLeast]) => ({
      name,
      job: `from "network up" to a verified root of ${megabytes} MB, in QEMU`,
      against: 'archiso’s way',
      unit: 'times' as const,
      goal: { atLeast },
      limit: LIMIT,
    })),
    {
      name: 'verified-root/flat',
      job: 'how many times as long the smallest image takes as the largest: 1 is flat',
      unit: 'times',
      goal: { atLeast: 0.8 },
    },
    {
      name: 'verified-root/fetched',
      job: 'what is fetched of the largest image until there is a login prompt',
      unit: 'MB',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const lan = await createLan();
    try {
      await lan.startDhcp({});
      const times: number[] = [];
      let fetched = 0;
      for (const [row, size] of SIZES) {
        const megabytes = quick ? 46 : size;
        const image = await imageOf(folder, megabytes);
        const [verity, archiso] = [await releaseOf(image, 'verity'), await releaseOf(image, 'archiso')];
        await rm(image);
        try {
          const boot = (release: LabRelease, way: Way) => async () => {
            say(`${megabytes} MB, ${way}`);
            const told = await bootOnce(lan, release, way);
            if (way === 'verity') fetched = told.fetched;
            return told.seconds;
          };
          const compared = await compare(
            { verity: boot(verity, 'verity'), archiso: boot(archiso, 'archiso') },
            { rounds: Math.min(rounds, MOST_ROUNDS), warm: 0 },
          );
          const shown = (way: Way) => `${compared.seconds(way).toFixed(2)} s`;
          tell(row, { values: compared.faster('archiso'), ours: shown('verity'), peer: shown('archiso') });
          times.push(compared.seconds('verity'));
        } finally {
          await verity.remove();
          await archiso.remove();
        }
      }
      tell('verified-root/flat', { values: [(times[0] ?? Number.NaN) / (times.at(-1) ?? Number.NaN)] });
      tell('verified-root/fetched', { values: [fetched / MEGABYTE] });
    } finally {
      await lan.close();
    }
  },
};

/** A Debian with a login prompt, and a file that cannot be compressed beside it, where there is room for one. */
async function imageOf(folder: string, megabytes: number): Promise<string> {
  const image = join(folder, `${megabytes}.sfs`);
  await cp(await labRootfs('login'), image);
  const missing = megabytes * MEGABYTE - (await stat(image)).size;
  if (missing < MEGABYTE) return image;
  const filler = join(folder, 'filler');
  await mkdir(filler);
  await fill(join(filler, 'filler'), Math.floor(missing / MEGABYTE));
  await run('mksquashfs', [filler, image, '-no-progress', '-quiet']);
  await rm(filler, { recursive: true });
  return image;
}

function releaseOf(image: string, way: Way): Promise<LabRelease> {
  return labRelease({
    prepare: async (tree, keys) => {
      await rm(join(tree, ROOTFS));
      await link(image, join(tree, ROOTFS)).catch(() => cp(image, join(tree, ROOTFS)));
      if (way === 'verity') await addOverlay(tree, keys, 'verity');
    },
  });
}

interface Boot {
  /** From the first line to the last one. */
  readonly seconds: number;
  /** Bytes that the server sent over HTTP and over NBD until there was a login prompt. */
  readonly fetched: number;
}

async function bootOnce(lan: Lan, release: LabRelease, way: Way): Promise<Boot> {
  const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: false });
  let log = '';
  server.child.stdout?.on('data', (piece: Buffer) => {
    log += piece.toString('utf8');
  });
  const closed = new Promise((resolve) => server.child.stdout?.once('end', resolve));
  const machine = await bootDirect({
    ...{ lan, tree: release.tree, release: release.release },
    memoryMiB: MEMORY_MIB,
    hungAfter: 20 * 60_000,
  });
  let taken: number;
  try {
    await machine.waitFor([WAYS[way].since]);
    taken = await seconds(() => machine.waitFor([WAYS[way].done]));
    if (way === 'verity') await machine.waitFor(['bootseal-lab login:']);
  } finally {
    await machine.kill();
    // What was sent is logged when a connection ends, at the latest with the server.
    await server.stop();
  }
  await closed;
  let fetched = 0;
  for (const [, bytes] of log.matchAll(/^(?:info|warn) (?:http|nbd): ended .*"bytes":(\d+)/gm)) {
    fetched += Number(bytes);
  }
  if (fetched === 0) throw new Error('the server told of no bytes that it sent');
  return { seconds: taken, fetched };
}
