import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import type { KernelFacts } from '../formats/efi/kernel-shape.ts';
import { decodeManifest } from '../formats/records/manifest.ts';
import { otherIpxeSeal, RECORD } from '../formats/records/seal-names.ts';
import type { Artifact, Layout, LayoutOptions } from '../release/layout.ts';
import { serialOf } from '../release/serial.ts';
import { compileBootScript } from '../scripts/compile.ts';
import { compileGrubConfig } from '../scripts/grub-config.ts';
import { serverAddress } from '../scripts/server-address.ts';
import type { MakeKeyPair } from './keys/key-pair.ts';
import { demandMachine } from './payload-machine.ts';
import type { SealOptions } from './sealer.ts';
import { readExisting } from './tree-draft.ts';

const DAY = 86_400_000;
const BEST_BEFORE_DAYS = 90;

/** What is sealed, and what the seals shall say; the keys apart. */
export interface SealTermsRequest extends LayoutOptions {
  readonly tree: string;
  /** Milliseconds since 1970; the only clock in any output. Default: the existing manifest's, else `now`. */
  readonly issued?: number;
  /** A growing number; needed where the version does not begin with a date. */
  readonly serial?: number;
  /** `http://HOST:PORT` that scripts shall name. Default: whatever host DHCP names, port 8080. */
  readonly url?: string;
  /** Milliseconds since 1970: the time certificates are judged at. */
  readonly now: number;
  /** Overrides the release leaf's RSA modulus length. */
  readonly rsaBits?: number;
  /** Makes the release leaf's key; default: OpenSSL. */
  readonly makeKeyPair?: MakeKeyPair;
  /** Bytes of the site's initrd that were packed so far, and in all; what it throws ends the packing. */
  readonly onPack?: (bytes: number, all: number) => void;
  readonly onLayout?: (layout: Layout) => void;
  readonly onProgress?: (artifact: Artifact, octets: number) => void;
  /** Hears of a payload that has no shape which its role is known to have, and what it is not. */
  readonly onUnlike?: (artifact: Artifact, what: string) => void;
  /** Hears what kind of kernel is sealed, where that is known. */
  readonly onKernel?: (artifact: Artifact, kernel: KernelFacts) => void;
}

/** What a seal says beside the content, from what was asked and what stands in the tree. */
export async function sealTerms(
  layout: Layout,
  request: SealTermsRequest,
  ids: readonly string[],
): Promise<Omit<SealOptions, 'others'>> {
  const serial = request.serial ?? serialOf(layout.release);
  if (serial === undefined) {
    throw new Refusal(
      'malformed',
      `The version of ${layout.release} does not begin with a date; give it a --serial N that grows.`,
      { release: layout.release },
    );
  }
  const server = serverAddress(request.url);
  const issued =
    Math.floor((request.issued ?? (await issuedBefore(request.tree, layout.release)) ?? request.now) / 1000) *
    1000;
  request.onLayout?.(layout);
  return {
    issued,
    bestBefore: issued + BEST_BEFORE_DAYS * DAY,
    serial,
    ...(request.rsaBits === undefined ? {} : { rsaBits: request.rsaBits }),
    ...(request.makeKeyPair ? { makeKeyPair: request.makeKeyPair } : {}),
    ...(request.onProgress ? { onProgress: request.onProgress } : {}),
    ...(request.onUnlike ? { onUnlike: request.onUnlike } : {}),
    onLook: (artifact, seen) => {
      demandMachine(layout, artifact, seen);
      if (seen.kernel) request.onKernel?.(artifact, seen.kernel);
    },
    compose: (manifest, manifestSha256) => {
      const options = { manifest, manifestSha256, server: server.script };
      const script = (sealSuffix?: string) =>
        Buffer.from(compileBootScript({ ...options, ...(sealSuffix ? { sealSuffix } : {}) }), 'latin1');
      return {
        bootIpxe: script(),
        others: new Map(ids.map((id) => [id, script(otherIpxeSeal(id))])),
        grubCfg: Buffer.from(compileGrubConfig({ manifest, manifestSha256, server: server.grub }), 'latin1'),
      };
    },
  };
}

/** When this very release was sealed before, if it was: sealing again then changes nothing. */
async function issuedBefore(tree: string, release: string): Promise<number | undefined> {
  const bytes = await readExisting(tree, RECORD.manifest);
  if (!bytes) return undefined;
  try {
    const manifest = decodeManifest(bytes);
    return manifest.release === release ? manifest.issued : undefined;
  } catch (error) {
    // Of no manifest that we could have made there is nothing to go by.
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
