/**
 * From "network up" to a verified and mounted root: mode verity beside archiso's way (download all of it, sha512sum,
 * gpg, openssl cms), in the same virtual machine, with the same images, in one run, best of two: quote the ratios. And
 * what is fetched of an image until there is a login prompt.
 *
 *     node dist/bench/verified-root.js [MEGABYTES…]
 *
 * Needs what e2e needs, and root. The machine is emulated without KVM, which makes its hashing several times slower
 * than its network; on hardware the ratio is smaller and the shape the same.
 */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { cp, link, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { run } from '../lab/command.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { addOverlay, bootDirect } from '../lab/overlay.ts';
import { installPrerequisites } from '../lab/prerequisites.ts';
import { type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { labRootfs } from '../lab/rootfs.ts';
import { startProduct } from '../lab/servers.ts';

const MEGABYTE = 1_000_000;
const MEMORY_MIB = 2048;
const ROUNDS = 2;
/**
 * Between which lines time is taken. Verity: everything from "network up". Archiso: what archiso itself does; its
 * stand-in also verifies the manifest, before the first line and after the last one.
 */
const WAYS = {
  verity: { since: 'bootseal: network up', done: 'bootseal: root mounted' },
  archiso: { since: 'bootseal-early: manifest verified', done: 'bootseal-early: CMS verified' },
} as const;
type Way = keyof typeof WAYS;

interface Boot {
  /** Milliseconds, of the quickest round. */
  readonly mountedAfter: number;
  /** Bytes that the server sent from kernel start to the login prompt, over HTTP and over NBD, in the last round. */
  readonly octets: number;
}

const folder = await mkdtemp(join(tmpdir(), 'bench-root-'));
let lan: Lan | undefined;
try {
  await installPrerequisites();
  lan = await createLan();
  await lan.startDhcp({});
  const sizes = process.argv.slice(2).map(Number);
  await main(lan, [0, ...(sizes.length > 0 ? sizes : [100, 300, 900])]);
} finally {
  await lan?.close();
  await rm(folder, { recursive: true });
}

async function main(on: Lan, sizes: readonly number[]): Promise<void> {
  console.log(
    `${'image'.padStart(8)}  ${'verity'.padStart(8)}  ${'archiso'.padStart(8)}  ratio  until login`,
  );
  const times: number[] = [];
  for (const megabytes of sizes) {
    const image = await imageOf(megabytes);
    const { size } = await stat(image);
    const boots = {
      verity: await measure(on, image, 'verity'),
      archiso: await measure(on, image, 'archiso'),
    };
    await rm(image);
    times.push(boots.verity.mountedAfter);
    const seconds = (way: Way) => `${(boots[way].mountedAfter / 1000).toFixed(2)} s`.padStart(8);
    const ratio = (boots.archiso.mountedAfter / boots.verity.mountedAfter).toFixed(1).padStart(5);
    const { octets } = boots.verity;
    const fetched = `${(octets / MEGABYTE).toFixed(1)} MB, ${((octets / size) * 100).toFixed(1)} %`;
    const name = `${Math.round(size / MEGABYTE)} MB`.padStart(8);
    console.log(`${name}  ${seconds('verity')}  ${seconds('archiso')}  ${ratio}  ${fetched}`);
  }
  const flat = ((times.at(-1) ?? 0) / (times[0] ?? 1)).toFixed(2);
  console.log(`verity, the largest image beside the smallest: ${flat}; 1.00 is flat`);
}

/** A Debian with a login prompt, and a file that cannot be compressed beside it; 0: the Debian alone. */
async function imageOf(megabytes: number): Promise<string> {
  const image = join(folder, `${megabytes}.sfs`);
  await cp(await labRootfs('login'), image);
  const missing = megabytes * MEGABYTE - (await stat(image)).size;
  if (missing <= 0) return image;
  const filler = join(folder, 'filler');
  await mkdir(filler);
  const pieces = function* () {
    for (let left = missing; left > 0; left -= MEGABYTE) yield randomBytes(Math.min(left, MEGABYTE));
  };
  await pipeline(Readable.from(pieces()), createWriteStream(join(filler, 'filler')));
  await run('mksquashfs', [filler, image, '-no-progress', '-quiet']);
  await rm(filler, { recursive: true });
  return image;
}

async function measure(on: Lan, image: string, way: Way): Promise<Boot> {
  const release = await labRelease({
    prepare: async (tree, keys) => {
      await rm(join(tree, ROOTFS));
      await link(image, join(tree, ROOTFS));
      if (way === 'verity') await addOverlay(tree, keys, 'verity');
    },
  });
  try {
    const boots: Boot[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      boots.push(await timed(on, release, way, round === ROUNDS));
    }
    const mountedAfter = Math.min(...boots.map((boot) => boot.mountedAfter));
    return { mountedAfter, octets: boots.at(-1)?.octets ?? 0 };
  } finally {
    await release.remove();
  }
}

async function timed(on: Lan, release: LabRelease, way: Way, toLogin: boolean): Promise<Boot> {
  const server = await startProduct(on, release, { httpPort: 8080, tftpPort: false });
  let log = '';
  server.child.stdout?.on('data', (piece: Buffer) => {
    log += piece.toString('utf8');
  });
  const machine = await bootDirect({
    ...{ lan: on, tree: release.tree, release: release.release },
    memoryMiB: MEMORY_MIB,
    hungAfter: 20 * 60_000,
  });
  await machine.waitFor([WAYS[way].since]);
  const since = performance.now();
  await machine.waitFor([WAYS[way].done]);
  const mountedAfter = performance.now() - since;
  if (way === 'verity' && toLogin) await machine.waitFor(['bootseal-lab login:']);
  await machine.kill();
  // What was sent is logged when a connection ends, at the latest with the server.
  const closed = new Promise((resolve) => server.child.stdout?.once('end', resolve));
  await server.stop();
  await closed;
  let octets = 0;
  for (const [, count] of log.matchAll(/^info (?:http: response|nbd: closed) .*"bytes":(\d+)/gm)) {
    octets += Number(count);
  }
  return { mountedAfter, octets };
}
