import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { archisoParameters } from '../../emulator/early/parameters.ts';
import { bytesContent, type Content, fileContent } from '../../files/measure.ts';
import { cpioEntries, cpioPadding, encodeCpio } from '../../formats/archive/cpio.ts';
import { linuxOf, type Manifest, type ManifestFile } from '../../formats/records/manifest.ts';
import { RECORD, SCRIPT_SEAL, SEAL } from '../../formats/records/seal-names.ts';
import { createKeyFolder } from '../../signing/keys/init.ts';
import { type CertifiedKey, type Keys, readKeyFolder } from '../../signing/keys/key-folder.ts';
import { type KeyPair, newKeyPair } from '../../signing/keys/key-pair.ts';
import { makeSnapshotKey } from '../../signing/keys/snapshot-key.ts';
import type { Anchors } from '../../trust/anchors.ts';
import { issueLeaf, sealCms, sealOpenpgp } from './forge.ts';
import { type MadeRelease, makeRelease } from './releases.ts';
import { copyFiles, WorkTree } from './work-tree.ts';

const DAY = 86_400_000;
/** Keys that are thrown away afterwards need not be long. */
const RSA_BITS = 2048;

export interface TamperSiteOptions {
  /** A folder of its own, removed afterwards. */
  readonly work: string;
  readonly tree: string;
  /** Files of the tree that a verdict accounts for. */
  readonly paths: readonly string[];
  readonly manifest: Manifest;
  readonly keys: Keys;
  readonly anchors: Anchors;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** An `init` folder of somebody else's; made where it is left out. */
  readonly stranger?: string;
}

/** A copy of a sealed release, the keys that made it, and what else an attacker may have at hand. */
export class TamperSite {
  readonly work: string;
  readonly copy: WorkTree;
  readonly manifest: Manifest;
  readonly keys: Keys;
  readonly anchors: Anchors;
  readonly now: number;
  readonly #stranger: string | undefined;
  readonly #lazy = new Map<string, Promise<unknown>>();

  private constructor({ work, manifest, keys, anchors, now, stranger }: TamperSiteOptions) {
    this.work = work;
    this.copy = new WorkTree(join(work, 'copy'), join(work, 'aside'));
    this.manifest = manifest;
    this.keys = keys;
    this.anchors = anchors;
    this.now = now;
    this.#stranger = stranger;
  }

  static async create(options: TamperSiteOptions): Promise<TamperSite> {
    const site = new TamperSite(options);
    await mkdir(join(options.work, 'aside'));
    await copyFiles(options.tree, site.copy.folder, options.paths);
    return site;
  }

  get release(): string {
    return this.manifest.release;
  }

  get kernel(): ManifestFile {
    return this.#one(({ role }) => role === 'kernel');
  }

  /** The first of those that a loader loads after the kernel. */
  get initrd(): ManifestFile {
    return this.#one(({ role }) => role === 'initrd');
  }

  get rootfs(): ManifestFile {
    return this.#one(({ role }) => role === 'rootfs');
  }

  /** Whether it is of those that no iPXE starts. */
  get startsByGrub(): boolean {
    return this.manifest.moduleCmdline !== undefined;
  }

  /** Whether the root image has a hash tree: its length is a whole number of blocks. */
  get hasHashTree(): boolean {
    return this.manifest.files.some(({ role }) => role === 'hashtree');
  }

  /** Which checks of the root image archiso is asked for. */
  get asked() {
    return archisoParameters(linuxOf(this.manifest).cmdline.join(' '), this.manifest.arch);
  }

  content(path: string): Content {
    return fileContent(this.copy.path(path));
  }

  /** One of this site's leaves, its CA and those above, in the order that a chain has. */
  chain({ certificate }: CertifiedKey) {
    return [certificate, this.keys.ca.certificate, ...this.keys.above];
  }

  /** A release of this site's, sealed before this one, with a content of its own. */
  older(): Promise<MadeRelease> {
    return this.#once('older', () =>
      makeRelease(this, 'older', {
        release: olderId(this.release),
        serial: Math.max(0, this.manifest.serial - 100),
        issued: this.manifest.issued - DAY,
        change: async (folder) => {
          for (const { path, role } of this.manifest.files) {
            const file = join(folder, path);
            if (role === 'kernel' || role === 'rootfs') await flip(file);
            else if (role === 'initrd' || role === 'overlay')
              await appendFile(file, 'etc/older', Buffer.from('older\n'));
          }
        },
      }),
    );
  }

  /** Somebody else's keys, under the very names of ours. */
  stranger(): Promise<Keys> {
    return this.#once('stranger', async () => {
      const folder = this.#stranger ?? join(this.work, 'stranger');
      if (this.#stranger === undefined) {
        const site = /^netboot CA (.*)$/.exec(this.keys.ca.certificate.commonName)?.[1] ?? 'stranger';
        await createKeyFolder(folder, { site, kind: 'rsa', rsaBits: RSA_BITS, now: this.now });
      }
      return readKeyFolder(folder, this.now);
    });
  }

  snapshotKey(): Promise<CertifiedKey> {
    return this.#once('snapshot', () => makeSnapshotKey(this.work, 'tamper', this.now, RSA_BITS));
  }

  /** A leaf of `ca` that may sign code, by default valid today. */
  async leaf(commonName: string, ca = this.keys.ca, notBefore = -DAY, notAfter = DAY): Promise<CertifiedKey> {
    const pair = await this.#once<KeyPair>('leaf', () => newKeyPair('rsa', RSA_BITS));
    return issueLeaf(ca, pair.publicKey, pair.privateKey, {
      commonName,
      notBefore: this.now + notBefore,
      notAfter: this.now + notAfter,
    });
  }

  /** Puts a `boot.ipxe` in place, signed by the site's own boot key. */
  async signBoot(text: string): Promise<void> {
    const bytes = Buffer.from(text, 'latin1');
    const { boot } = this.keys;
    await this.copy.write(RECORD.bootIpxe, bytes);
    await this.copy.write(
      RECORD.bootIpxe + SCRIPT_SEAL,
      await sealCms(bytesContent(bytes), boot, this.chain(boot)),
    );
  }

  /** Puts a `grub.cfg` in place, signed by the site's own script key. */
  async signGrub(text: string): Promise<void> {
    const bytes = Buffer.from(text, 'latin1');
    await this.copy.write(RECORD.grubCfg, bytes);
    await this.copy.write(
      RECORD.grubCfg + SEAL.openpgp,
      await sealOpenpgp(bytesContent(bytes), this.keys.openpgp.script, this.now),
    );
  }

  #one(wanted: (file: ManifestFile) => boolean): ManifestFile {
    const file = this.manifest.files.find(wanted);
    if (!file) throw new RangeError('an attack on a file that this release does not have');
    return file;
  }

  #once<T>(name: string, make: () => Promise<T>): Promise<T> {
    const made = this.#lazy.get(name) ?? make();
    this.#lazy.set(name, made);
    return made as Promise<T>;
  }
}

/** `arch/2026.11.01` → `arch/2026.10.31`; what is no date gets a zero in front. */
function olderId(release: string): string {
  const [name = '', version = ''] = release.split('/');
  const [, year, separator = '', month, date] = /^(\d{4})([.-]?)(\d\d)\2(\d\d)/.exec(version) ?? [];
  const before = new Date(Date.UTC(Number(year), Number(month) - 1, Number(date) - 1));
  if (Number.isNaN(before.getTime())) return `${name}/${`0.${version}`.slice(0, 64)}`;
  return `${name}/${before.toISOString().slice(0, 10).split('-').join(separator)}`;
}

/** Changes one byte in the middle of a file of any size. */
async function flip(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const middle = (await handle.stat()).size >> 1;
    const octet = new Uint8Array(1);
    await handle.read(octet, 0, 1, middle);
    await handle.write(
      octet.map((value) => value ^ 0xff),
      0,
      1,
      middle,
    );
  } finally {
    await handle.close();
  }
}

/** Adds a file to an initrd: one more archive behind it, which overrides the ones before. */
export async function appendFile(initrd: string, name: string, data: Uint8Array): Promise<void> {
  const bytes = await readFile(initrd);
  const folder = name.slice(0, name.lastIndexOf('/'));
  const archive = encodeCpio(
    cpioEntries(
      [
        { kind: 'directory', name: folder },
        { kind: 'file', name, data },
      ],
      0,
    ),
  );
  await writeFile(initrd, Buffer.concat([bytes, Buffer.alloc(cpioPadding(bytes.length)), archive]));
}
