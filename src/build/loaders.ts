import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { readIfThere } from '../files/read-if-there.ts';
import { unwrapKeyring } from '../formats/openpgp/keyring-file.ts';
import { serverAddress } from '../scripts/server-address.ts';
import { decodeOr } from '../trust/check.ts';
import { buildGrubImages, type GrubImage, type GrubProtocol } from './grub-image.ts';
import { grubPlatformsOf } from './grub-platforms.ts';

export { findLoaders, type InstalledLoader } from './find-loaders.ts';

export interface GrubLoaderOptions {
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  readonly out: string;
  /** `http://HOST[:PORT]`; default: the host that DHCP names. */
  readonly url?: string;
  /** Whose machines they are for, as `uname -m` says it there; default x86_64. */
  readonly arch?: string;
  /** Where GRUB's modules were unpacked; default: where they are installed. */
  readonly modules?: string;
  /** Tried in this order; default HTTP, then TFTP. */
  readonly protocols?: readonly GrubProtocol[];
  /** What the key is judged at, milliseconds since 1970. */
  readonly now: number;
}

/** Builds GRUB network images that hold the site's OpenPGP keys of scripts and of payload, and enforce signatures. */
export async function buildGrubLoaders(options: GrubLoaderOptions): Promise<readonly GrubImage[]> {
  const platforms = grubPlatformsOf(options.arch ?? 'x86_64');
  const script = await anchorKeyring(options.anchors, 'script.gpg');
  const payload = await anchorKeyring(options.anchors, 'pubring.gpg');
  const { grub } = serverAddress(options.url);
  return buildGrubImages({
    scriptKeyring: script,
    payloadKeyring: payload,
    now: options.now,
    outDir: options.out,
    server: grub,
    platforms,
    ...(options.modules === undefined ? {} : { modules: options.modules }),
    ...(options.protocols === undefined ? {} : { protocols: options.protocols }),
  });
}

/** Binary packets, whatever they were wrapped in. */
async function anchorKeyring(folder: string, name: string): Promise<Uint8Array> {
  for (const path of [join(folder, 'anchors', name), join(folder, name)]) {
    const bytes = await readIfThere(path);
    if (bytes) return decodeOr(name, () => Buffer.concat(unwrapKeyring(bytes)));
  }
  throw new UsageError(`${folder} holds no ${name}.`);
}
