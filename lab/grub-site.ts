import { cp, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readKeyFolder } from '../src/signing/keys/key-folder.ts';
import { sealRecordOpenpgp } from '../src/signing/seal-record.ts';
import { openpgpSigner } from '../src/signing/signatories.ts';
import type { LabRelease } from './release.ts';
import { copySite } from './servers.ts';

/** Whose OpenPGP key signs: each is good in one place and must be nothing in the other. */
export type GrubRole = 'script' | 'payload';

/** A detached signature by the site's own key of that role, as GRUB looks for it. */
export async function sealAs(keys: string, role: GrubRole, bytes: Uint8Array): Promise<Uint8Array> {
  const { openpgp } = await readKeyFolder(keys, Date.now());
  return sealRecordOpenpgp(
    bytes,
    openpgpSigner(role === 'script' ? 'openpgp-script' : 'openpgp', openpgp[role]),
    Date.now(),
  );
}

/** What is served of a release over HTTP, and over TFTP in `tftp`, for a test to change. */
export class GrubSite {
  readonly folder: string;
  readonly #keys: string;

  private constructor(folder: string, keys: string) {
    this.folder = folder;
    this.#keys = keys;
  }

  /** @param loaders the folder of GRUB images that TFTP serves. */
  static async create(release: LabRelease, loaders: string): Promise<GrubSite> {
    const site = await mkdtemp(join(release.folder, 'site-'));
    await copySite(release, site);
    await cp(loaders, join(site, 'tftp'), { recursive: true });
    return new GrubSite(site, release.keys);
  }

  /** Writes a file and a good seal beside it. Below `second/`: what is answered from the second request on. */
  async put(path: string, content: string | Uint8Array, role: GrubRole): Promise<void> {
    const bytes = Buffer.from(content);
    const file = join(this.folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes);
    await writeFile(`${file}.sig`, await sealAs(this.#keys, role, bytes));
  }

  /** Changes a text and seals it again. */
  async edit(path: string, role: GrubRole, change: (text: string) => string): Promise<void> {
    const before = await readFile(join(this.folder, path), 'latin1');
    const text = change(before);
    if (text === before) throw new Error(`nothing to change in ${path}`);
    await this.put(path, text, role);
  }

  /** One of the site's public halves. */
  anchor(name: string): Promise<Buffer> {
    return readFile(join(this.#keys, 'anchors', name));
  }

  /** A file and its seal once more, under another name. */
  async copy(from: string, to: string): Promise<void> {
    await mkdir(dirname(join(this.folder, to)), { recursive: true });
    for (const suffix of ['', '.sig']) {
      await cp(join(this.folder, from + suffix), join(this.folder, to + suffix));
    }
  }
}
