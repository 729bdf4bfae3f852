import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compileBootScript } from '../boot/compile.ts';
import { compileGrubConfig } from '../boot/grub-config.ts';
import { decodeManifest } from '../formats/manifest.ts';
import { type Artifact, type Layout, type LayoutOptions, recogniseTree } from '../release/layout.ts';
import { Refusal } from '../release/refusal.ts';
import { otherIpxeSeal, RECORD } from '../release/seal-names.ts';
import { serialOf } from '../release/serial.ts';
import { type OtherSealingCa, type Sealed, type SealOptions, sealTree } from '../signing/sealer.ts';
import type { SealingKeys } from '../signing/signatories.ts';
import { anchorId } from '../trust/anchors.ts';
import { logSeal } from './log-seal.ts';
import { readLoaderSealingKeys, readSealingKeys } from './sealing-keys.ts';
import { serverAddress } from './server-address.ts';

const DAY = 86_400_000;
const BEST_BEFORE_DAYS = 90;

export interface SealRequest extends SealTermsRequest {
  /** An `init` folder. */
  readonly keys: string;
  /** `init` folders of other CAs whose loaders shall start this release too, while a CA is being replaced. */
  readonly alsoKeys?: readonly string[];
  /** A program that signs for all of these keys, and its arguments: see `signers.toml`. */
  readonly signerCommand?: readonly string[];
  /** A STATE folder whose log shall have an entry of this. */
  readonly state?: string;
}

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
  readonly onLayout?: (layout: Layout) => void;
  readonly onProgress?: (artifact: Artifact, octets: number) => void;
}

export interface SealResult extends Sealed {
  readonly layout: Layout;
}

/** Seals a tree: every seal, one pass. Throws a `Refusal` or a `WriteError`. */
export async function seal(request: SealRequest): Promise<SealResult> {
  const layout = await recogniseTree(request.tree, request);
  const keys = await readSealingKeys(request.keys, request.now, request.signerCommand);
  const others = await otherCas(keys, request);
  const terms = await sealTerms(
    layout,
    request,
    others.map(({ id }) => id),
  );
  const sealed = await sealTree(request.tree, layout, keys, { ...terms, others });
  if (request.state !== undefined) await logSeal(request.state, request.tree, sealed, request.now);
  return { ...sealed, layout };
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
    ...(request.onProgress ? { onProgress: request.onProgress } : {}),
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

/** The other CAs, each once: one set of iPXE seals serves every loader that trusts a CA. */
async function otherCas(keys: SealingKeys, { alsoKeys = [], now }: SealRequest): Promise<OtherSealingCa[]> {
  const others: OtherSealingCa[] = [];
  const taken = new Set([anchorId(keys.ca.certificate)]);
  for (const folder of alsoKeys) {
    const other = await readLoaderSealingKeys(folder, now);
    const id = anchorId(other.ca.certificate);
    if (taken.has(id)) {
      throw new Refusal(
        'mixed-releases',
        `${folder} has the same CA as the keys before it, and loaders of one CA need one set of seals.`,
        { path: folder, ca: id },
      );
    }
    taken.add(id);
    others.push({ id, keys: other });
  }
  return others;
}

/** When this very release was sealed before, if it was: sealing again then changes nothing. */
async function issuedBefore(tree: string, release: string): Promise<number | undefined> {
  try {
    const manifest = decodeManifest(await readFile(join(tree, RECORD.manifest)));
    return manifest.release === release ? manifest.issued : undefined;
  } catch {
    // None, or none that can be read: there is nothing to go by.
    return undefined;
  }
}
