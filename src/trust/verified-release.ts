import type { Tree } from '../files/tree.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import type { PinnedFile } from '../release/pin.ts';
import type { PromisedFile } from '../release/promised-file.ts';
import { idOf, type TrustRoots } from './trust-roots.ts';

/** Known to `verifier.ts` alone: nobody else can make one. */
export const SEAL_OF_VERIFIER = Symbol('verified release');

/** What a verifier found of a release, and what it needs to judge it again. */
export interface ReleaseParts<File> {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly roots: TrustRoots;
  readonly files: ReadonlyMap<string, File>;
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly unjudged: readonly string[];
  readonly remembered: Tree;
}

/** A release that a verifier accepted. Which of the two kinds it is says whether its payload was read. */
abstract class AcceptedRelease<File> {
  /** `arch/2026.11.01` */
  readonly release: string;
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly roots: TrustRoots;
  /** Payload, by its path in the tree. */
  readonly files: ReadonlyMap<string, File>;
  /** Records and every seal, by their path in the tree, byte for byte as they were verified. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /**
   * Boot scripts for the loaders of CAs whose anchors were not given, and a UKI where those hold no `db.crt`. Nothing
   * was verified of them or of the seals they name, so nothing of that is published or served.
   */
  readonly unjudged: readonly string[];
  /** The common name that loaders demand of `boot.ipxe`. */
  readonly bootSigner: string;
  /** First 16 hex digits of the SHA-256 of the CA that it was verified by. */
  readonly anchorId: string;
  /** The release out of memory, for when time has passed. */
  readonly remembered: Tree;

  constructor(token: symbol, parts: ReleaseParts<File>) {
    if (token !== SEAL_OF_VERIFIER) throw new TypeError('a verified release is made by a Verifier alone');
    this.release = parts.manifest.release;
    this.manifest = parts.manifest;
    this.manifestSha256 = parts.manifestSha256;
    this.roots = parts.roots;
    this.files = parts.files;
    this.records = parts.records;
    this.unjudged = parts.unjudged;
    this.bootSigner = parts.roots.own.bootSigner ?? '';
    this.anchorId = idOf(parts.roots.own);
    this.remembered = parts.remembered;
  }

  /** False: the anchors came with the tree, and nobody vouches for them. */
  get anchored(): boolean {
    return this.roots.anchored;
  }
}

/**
 * Files and records that were verified together: the only thing that may be published, and, beside what is promised, be
 * served. `Verifier` alone makes one. Of its files it is known where they are on this machine, and what says that they
 * still are the same.
 */
export class VerifiedRelease extends AcceptedRelease<PinnedFile> {
  readonly payload = 'read';
}

/**
 * Records that were verified together, and payload that they promise and nobody has read: it may be served, each file once
 * it turned out to be what was promised, and is no `VerifiedRelease`, so nobody can publish or store it.
 */
export class PromisedRelease extends AcceptedRelease<PromisedFile> {
  readonly payload = 'promised';
}

/** Of what is kept for good every byte was read, whatever somebody has cast it to. */
export function demandRead({
  release,
  payload,
}: {
  readonly release: string;
  readonly payload: string;
}): void {
  if (payload !== 'read')
    throw new TypeError(`the payload of ${release} was not read, so it cannot be stored`);
}

/** What a server may offer. */
export type ServableRelease = VerifiedRelease | PromisedRelease;
