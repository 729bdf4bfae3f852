import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { readIfThere } from '../files/read-if-there.ts';
import { compileEmbedded, DEFAULT_BASE } from '../scripts/compile.ts';
import { serverAddress } from '../scripts/server-address.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { anchorId } from '../trust/anchors.ts';
import { buildGrubImages, type GrubImage } from './grub-image.ts';

export { installedLoaders } from './grub-loaders.ts';

export interface GrubRequest {
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  readonly out: string;
  /** `http://HOST[:PORT]`; default: the host that DHCP names. */
  readonly url?: string;
  /** What the key is judged at, milliseconds since 1970. */
  readonly now: number;
}

/** Builds GRUB network images that hold the site's OpenPGP key and enforce signatures. */
export async function buildGrubLoaders(request: GrubRequest): Promise<readonly GrubImage[]> {
  const key = await anchorFile(request.anchors, 'pubring.gpg');
  const { grub } = serverAddress(request.url);
  const port = grub.kind === 'dhcp' ? grub.httpPort : grub.port;
  return buildGrubImages({
    openpgpPublicKey: key,
    now: request.now,
    outDir: request.out,
    server: grub,
    // GRUB before 2.12 reaches HTTP on port 80 only; TFTP has one port everywhere.
    protocols: port === 80 ? ['http', 'tftp'] : ['tftp'],
  });
}

export interface EmbeddedRequest {
  readonly anchors: string;
  /** Where the loader fetches; default `http://${next-server}:8080`. */
  readonly url?: string;
  /** A time server, for machines whose clock is lost. */
  readonly ntp?: string;
}

/** `embedded.ipxe`, for a site to build into its own iPXE. */
export async function embeddedScript(request: EmbeddedRequest): Promise<string> {
  const anchors = await readAnchorFolder(request.anchors);
  const [ca] = anchors.ca;
  if (!ca || !anchors.bootSigner) {
    throw new Refusal(
      'absent',
      `${request.anchors} holds no boot.crt, which says whose boot.ipxe the loader shall take.`,
      {},
    );
  }
  return compileEmbedded({
    base: request.url ?? DEFAULT_BASE,
    anchorId: anchorId(ca),
    bootSigner: anchors.bootSigner,
    ...(request.ntp === undefined ? {} : { ntp: request.ntp }),
  });
}

async function anchorFile(folder: string, name: string): Promise<Uint8Array> {
  for (const path of [join(folder, 'anchors', name), join(folder, name)]) {
    const bytes = await readIfThere(path);
    if (bytes) return bytes;
  }
  throw new Refusal('absent', `${folder} holds no ${name}.`, { path: join(folder, name) });
}
