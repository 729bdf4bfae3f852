import type { Content } from '../../release/measure.ts';
import { streamContent } from '../../release/measure.ts';
import { Refusal } from '../../release/refusal.ts';
import { type Check, lost } from '../../trust/check.ts';
import { archisoRules, cmsCheck } from '../../trust/cms-check.ts';
import { openpgpCheck } from '../../trust/openpgp-check.ts';
import { checksumCheck } from '../../trust/plain-checks.ts';
import type { Policy } from '../../trust/policy.ts';
import { examine, type Finding, type Verified } from '../../trust/verify.ts';
import type { InitramfsTree } from '../initramfs-tree.ts';
import type { Transport } from '../transport.ts';
import { EarlyKeys } from './keys.ts';
import { archisoParameters } from './parameters.ts';

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
  onEvent?(event: EarlyEvent): void;
}

export type EarlyEvent =
  | { readonly kind: 'fetch'; readonly url: string }
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
  /** The checks the command line asked for, in archiso's order. */
  readonly findings: readonly Finding[];
  /** Undefined unless every check held, and at least one had a key behind it. */
  readonly verified: Verified | undefined;
  /** Why it stopped. */
  readonly refusal: Refusal | undefined;
}

const SIDECAR_LIMIT = 1024 * 1024;

/**
 * archiso's early userspace on the HTTP path (`archiso_pxe_http`), from the probe to the verdict. Two things
 * differ from the original. It halts on a refusal, where archiso opens a shell and, when that ends,
 * mounts the image anyway. And it fetches the seals before the image, so that the image can be hashed
 * while it arrives and is never held.
 */
export async function runArchiso(options: EarlyOptions): Promise<EarlyVerdict> {
  let path = '';
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
    const early = new Early(options, server, `${parameters.basedir}/${parameters.arch}`);
    // 1. Which image is there.
    path = await early.probe();
    // 2. The seals that the command line asks for.
    const checks: Check[] = [];
    if (parameters.checksum) checks.push(await early.checksum(path));
    if (parameters.verify) checks.push(await early.openpgp(path));
    if (parameters.cmsVerify) checks.push(await early.cms(path));
    // 3. The image, once.
    const { findings, verified } = await examine(early.image(path), checks);
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
    return { path, findings, verified, refusal };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    options.onEvent?.({ kind: 'console', text: `ERROR: ${error.message}` });
    return { path, findings: [], verified: undefined, refusal: error };
  }
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

  image(path: string): Content {
    const limit = this.#options.maxRootBytes ?? 64 * 1024 ** 3;
    const fetching = this.#fetch(path);
    // Awaited by measure(); until then a rejection must not count as unhandled.
    fetching.catch(() => {});
    return {
      measure: async (questions) => {
        const { body, size } = await fetching;
        const url = this.#server + path;
        return streamContent(this.#watched(body, url, size), path, limit).measure(questions);
      },
    };
  }

  /** What archiso prints for a check. */
  say(finding: Finding): void {
    const good = finding.check === 'checksum' ? 'Checksum is OK' : 'Signature is OK';
    const text = finding.verified ? `${good}, continue booting.` : `ERROR: ${finding.refusal.message}`;
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

  async #small(path: string): Promise<Uint8Array> {
    const { body } = await this.#fetch(path);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of body) {
      size += piece.length;
      if (size > SIDECAR_LIMIT) {
        throw new Refusal(
          'too-large',
          `${path} is longer than ${SIDECAR_LIMIT} octets; no seal is that long.`,
          { path },
        );
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
