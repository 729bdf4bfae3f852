import type { Manifest } from '../../formats/manifest.ts';
import type { PolicyFloor, RequiredCheck, RootMode } from '../../formats/policy-floor.ts';
import type { Content } from '../../release/measure.ts';
import { streamContent } from '../../release/measure.ts';
import { Refusal } from '../../release/refusal.ts';
import { type Check, lost } from '../../trust/check.ts';
import { archisoRules, cmsCheck } from '../../trust/cms-check.ts';
import { NO_FLOOR } from '../../trust/freshness.ts';
import { openpgpCheck } from '../../trust/openpgp-check.ts';
import { checksumCheck, manifestCheck } from '../../trust/plain-checks.ts';
import type { Policy } from '../../trust/policy.ts';
import { examine, type Finding, type Verified } from '../../trust/verify.ts';
import type { InitramfsTree } from '../initramfs-tree.ts';
import type { Transport } from '../transport.ts';
import { EarlyKeys } from './keys.ts';
import { type EnforcedManifest, enforceManifest, readPolicyFloor } from './manifest.ts';
import { archisoParameters } from './parameters.ts';
import { RangeSource } from './range-source.ts';
import { mountVerity, type VerityReport } from './verity.ts';

export interface EarlyOptions {
  readonly initramfs: InitramfsTree;
  /** `/proc/cmdline`. */
  readonly cmdline: string;
  /** `uname -m`. */
  readonly arch: string;
  readonly transport: Transport;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Octets of the root image; more is a refusal. Default 64 GiB. */
  readonly maxRootBytes?: number;
  /** False: archiso as it is, which knows no manifest and no policy floor. */
  readonly enforceManifest?: boolean;
  /**
   * `verity`: the root image is not downloaded; its blocks are fetched and verified when they are read, and no check
   * of the image as a whole is made. The default is `ram`.
   */
  readonly mode?: RootMode;
  onEvent?(event: EarlyEvent): void;
}

export type EarlyEvent =
  | {
      readonly kind: 'fetch';
      readonly url: string;
      /** Octets, inclusive, where a part is asked for. */
      readonly range?: { readonly first: number; readonly last: number };
    }
  | {
      readonly kind: 'progress';
      readonly url: string;
      readonly octets: number;
      readonly size: number | undefined;
    }
  /** A line as archiso prints it on the console. */
  | { readonly kind: 'console'; readonly text: string };

/** What early userspace says of the root image. */
export interface EarlyVerdict {
  /** Relative to the server: `arch/x86_64/airootfs.sfs`; empty where it was not even found. */
  readonly path: string;
  /** The checks the command line asked for, in archiso's order; in mode `verity` those of the root hash and the blocks. */
  readonly findings: readonly Finding[];
  /** The manifest that everything was held against. */
  readonly manifest?: Manifest;
  /**
   * Undefined unless every check held, and at least one had a key behind it. In mode `verity` it is the root hash,
   * since the image as a whole was not read.
   */
  readonly verified: Verified | undefined;
  /** Mode `verity`: what was needed. */
  readonly verity?: VerityReport;
  /** Why it stopped. */
  readonly refusal: Refusal | undefined;
}

const SIDECAR_LIMIT = 1024 * 1024;

/**
 * archiso's early userspace on the HTTP path (`archiso_pxe_http`), from the manifest to the verdict. Three
 * things differ from the original. It first enforces the manifest that the command line names, as the overlay's
 * verifier does. It halts on a refusal, where archiso opens a shell and, when that ends,
 * mounts the image anyway. And it fetches the seals before the image, so that the image can be hashed
 * while it arrives and is never held.
 */
export async function runArchiso(options: EarlyOptions): Promise<EarlyVerdict> {
  let path = '';
  let stage: 'manifest' | 'image' = 'manifest';
  try {
    const parameters = archisoParameters(options.cmdline, options.arch);
    const server = parameters.httpServer;
    if (server === undefined) {
      throw new Refusal('absent', 'The kernel command line names no archiso_http_srv.', {});
    }
    if (!/^https?:\/\/[A-Za-z0-9.:[\]/_-]+\/$/.test(server)) {
      throw new Refusal('malformed', `archiso_http_srv=${server} is no address that ends in a slash.`, {
        server,
      });
    }
    const enforces = options.enforceManifest !== false;
    const floor = enforces ? readPolicyFloor(options.initramfs) : NO_FLOOR;
    const early = new Early(options, server, `${parameters.basedir}/${parameters.arch}`);
    // 1. The manifest, and this machine's command line held against it.
    const enforced = enforces ? await early.manifest(floor) : undefined;
    stage = 'image';
    if (options.mode === 'verity') return await early.verity(enforced, floor);
    // 2. Which image is there.
    path = await early.probe();
    // 3. The seals that the command line or the policy floor asks for.
    const required = (check: RequiredCheck) => floor.require.includes(check);
    const checks: Check[] = [];
    if (enforced) checks.push(listedCheck(path, enforced));
    if (parameters.checksum || required('checksum')) checks.push(await early.checksum(path));
    if (parameters.verify || required('openpgp')) checks.push(await early.openpgp(path));
    if (parameters.cmsVerify || required('cms')) checks.push(await early.cms(path));
    // 4. The image, once.
    const { findings, verified } = await examine(early.image(path, enforced?.rootfs?.size), checks);
    for (const finding of findings) early.say(finding);
    const refused = findings.find((finding) => !finding.verified);
    const refusal =
      refused && !refused.verified
        ? refused.refusal
        : verified
          ? undefined
          : new Refusal(
              'no-verdict',
              `The command line asks for no check that has a key behind it, so nothing vouches for ${path}.`,
              {
                path,
              },
            );
    return { path, findings, verified, refusal, ...(enforced ? { manifest: enforced.manifest } : {}) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    options.onEvent?.({ kind: 'console', text: `ERROR: ${error.message}` });
    const findings: Finding[] =
      stage === 'manifest' ? [{ check: 'manifest', verified: false, refusal: error }] : [];
    return { path, findings, verified: undefined, refusal: error };
  }
}

/** What the manifest says of the root image at `path`. */
function listedCheck(path: string, { manifest, rootfs, signer }: EnforcedManifest): Check {
  if (rootfs?.path === path) return manifestCheck(rootfs, signer);
  return lost(
    'manifest',
    new Refusal('mixed-releases', `${manifest.release} lists no root image ${path}.`, { path }),
  );
}

class Early {
  readonly #options: EarlyOptions;
  readonly #server: string;
  readonly #directory: string;
  readonly #keys: EarlyKeys;

  constructor(options: EarlyOptions, server: string, directory: string) {
    this.#options = options;
    this.#server = server;
    this.#directory = directory;
    this.#keys = new EarlyKeys(options.initramfs);
  }

  /** `curl -r 0-0` of the squashfs image, then of the EROFS one. */
  async probe(): Promise<string> {
    for (const name of ['airootfs.sfs', 'airootfs.erofs']) {
      const path = `${this.#directory}/${name}`;
      try {
        const { body } = await this.#fetch(path, { range: { first: 0, last: 0 } });
        // A server that ignores Range sends the whole image here; one piece tells enough.
        for await (const _ of body) break;
        return path;
      } catch (error) {
        if (!(error instanceof Refusal && error.code === 'absent')) throw error;
      }
    }
    throw new Refusal('absent', `There is no root image in ${this.#server}${this.#directory}/.`, {
      directory: this.#directory,
    });
  }

  checksum(path: string): Promise<Check> {
    const name = `${this.#directory}/airootfs.sha512`;
    return this.#sidecar('checksum', name, (bytes) =>
      checksumCheck(name, bytes, path.slice(path.lastIndexOf('/') + 1)),
    );
  }

  openpgp(path: string): Promise<Check> {
    const { policy, now } = this.#options;
    const name = `${path}.sig`;
    return this.#sidecar('openpgp', name, (bytes) =>
      openpgpCheck(name, bytes, this.#keys.openpgp(), policy, now),
    );
  }

  cms(path: string): Promise<Check> {
    const { policy, now } = this.#options;
    const name = `${path}.cms.sig`;
    return this.#sidecar('cms', name, (bytes) =>
      cmsCheck(name, bytes, archisoRules(this.#keys.codesign(), this.#keys.ca()), policy, now),
    );
  }

  /** Fetches and enforces the manifest where something asks for it. */
  async manifest(floor: PolicyFloor): Promise<EnforcedManifest | undefined> {
    const { cmdline, arch, policy, now } = this.#options;
    const fetch = (name: string, limit: number) => this.#small(name, limit);
    const enforced = await enforceManifest({ cmdline, arch, floor, keys: this.#keys, policy, now, fetch });
    if (enforced) {
      this.#print(`Manifest is OK: ${enforced.manifest.release}.`);
      const { daysLeft } = enforced;
      if (daysLeft !== undefined)
        this.#print(
          daysLeft > 0
            ? `WARNING: this release is best before ${daysLeft} days from now.`
            : 'WARNING: this release is past its best-before, and boots within the grace of the policy.',
        );
    }
    return enforced;
  }

  async verity(enforced: EnforcedManifest | undefined, floor: PolicyFloor): Promise<EarlyVerdict> {
    const { policy, now, transport } = this.#options;
    const { path, findings, verified, refusal, report } = await mountVerity({
      enforced,
      required: floor.require,
      keys: this.#keys,
      policy,
      now,
      fetch: (name, limit) => this.#small(name, limit),
      open: (name, size) =>
        new RangeSource({
          transport,
          url: this.#server + name,
          path: name,
          size,
          onFetch: (url, range) => this.#options.onEvent?.({ kind: 'fetch', url, range }),
        }),
    });
    if (refusal) this.#print(`ERROR: ${refusal.message}`);
    else if (report) this.#print(`Root hash is OK, dm-verity over ${path}: ${report.rootHash}`);
    return {
      path,
      findings,
      verified,
      refusal,
      ...(enforced ? { manifest: enforced.manifest } : {}),
      ...(report ? { verity: report } : {}),
    };
  }

  /** @param listed octets, by the manifest: a longer image is cut off there. */
  image(path: string, listed: number | undefined): Content {
    const limit = listed ?? this.#options.maxRootBytes ?? 64 * 1024 ** 3;
    const fetching = this.#fetch(path);
    // Awaited by measure(); until then a rejection must not count as unhandled.
    fetching.catch(() => {});
    return {
      measure: async (questions) => {
        const { body, size } = await fetching;
        // Before the first octet is hashed: what says that it has another length is another file.
        if (listed !== undefined && size !== undefined && size !== listed) {
          throw new Refusal('bad-signature', `${path} has ${size} octets, and the manifest says ${listed}.`, {
            path,
            size,
            wanted: listed,
          });
        }
        const url = this.#server + path;
        return streamContent(this.#watched(body, url, size), path, limit).measure(questions);
      },
    };
  }

  /** What archiso prints for a check. */
  say(finding: Finding): void {
    const good = finding.check === 'checksum' ? 'Checksum is OK' : 'Signature is OK';
    if (!finding.verified) this.#print(`ERROR: ${finding.refusal.message}`);
    else if (finding.check !== 'manifest') this.#print(`${good}, continue booting.`);
  }

  #print(text: string): void {
    this.#options.onEvent?.({ kind: 'console', text });
  }

  async *#watched(
    body: AsyncIterable<Uint8Array>,
    url: string,
    size: number | undefined,
  ): AsyncIterable<Uint8Array> {
    let octets = 0;
    for await (const piece of body) {
      octets += piece.length;
      this.#options.onEvent?.({ kind: 'progress', url, octets, size });
      yield piece;
    }
  }

  async #sidecar(name: Check['name'], path: string, make: (bytes: Uint8Array) => Check): Promise<Check> {
    try {
      return make(await this.#small(path));
    } catch (error) {
      if (error instanceof Refusal) return lost(name, error);
      throw error;
    }
  }

  async #small(path: string, limit = SIDECAR_LIMIT): Promise<Uint8Array> {
    const { body } = await this.#fetch(path);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of body) {
      size += piece.length;
      if (size > limit) {
        throw new Refusal('too-large', `${path} is longer than ${limit} octets, and may not be.`, { path });
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  #fetch(path: string, options?: { range: { first: number; last: number } }) {
    const url = this.#server + path;
    this.#options.onEvent?.({ kind: 'fetch', url });
    return this.#options.transport.fetch(url, options);
  }
}
